"""The text of a document as models read it, and the forms in which documents and queries are compared."""

import unicodedata


def document_text(title: str, text: str) -> str:
    """A document as models read it: title and text, either of which may be empty."""
    return (title + " " + text).strip()


def normal_form(text: str) -> str:
    """The form in which two documents are compared: Unicode's NFC, with every run of white space made one space.

    It decides duplicates, known positives, held-out documents and leakage; models read the text as it was written.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def document_keys(title: str, text: str) -> tuple[str, ...]:
    """The distinct normal forms of a document: with its title, and without, as a pair may hold it."""
    forms = normal_form(document_text(title, text)), normal_form(text)
    return tuple(dict.fromkeys(filter(None, forms)))


def query_key(text: str) -> str:
    """The form in which two queries are compared: as `normal_form`, ignoring case."""
    return normal_form(normal_form(text).casefold())
