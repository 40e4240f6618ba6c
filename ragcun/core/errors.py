"""The exception for what a user can fix, whose message names cause and remedy.

Stages print it without a traceback and exit 1; any other exception is a defect of ragcun and keeps its traceback.
"""

import re

# The second branch takes a password whose characters should have been escaped, up to the last @ of the word.
_USER = r"(?:[^\s/?#]*@|[^\s/?#@:\[]*:(?!\d*(?:[/?#\s]|$))\S*@)"
# A query or fragment, without the quote, bracket or stop that ends the word.
_QUERY = r"[?#]\S*?(?=['\")>\],.;:]*(?:\s|$))"
_URL = re.compile(rf"(\b[A-Za-z][A-Za-z0-9+.-]*://){_USER}?([^\s?#]*)(?:{_QUERY})?")
# What HTTP libraries show of an address: path and query. File names may hold a question mark, but seldom `?a=`.
_PATH = re.compile(rf"((?<![^\s'\"(])/[^\s?#]*)(?=\?[^\s=]*=){_QUERY}")


def without_secrets(text: str) -> str:
    """`text` with each address in it without user, password, query and fragment."""
    return _PATH.sub(r"\1", _URL.sub(r"\1\2", text))


class RagcunError(Exception):
    """Something outside the code is wrong: params, data, network, machine. Its message shows no address's secrets."""

    def __init__(self, message: object) -> None:
        super().__init__(without_secrets(str(message)))


class LostProcessError(RagcunError):
    """Another process of this run ended; its failure is the cause, not this one."""


def unsupported_similarity(origin: str, similarity: object) -> RagcunError:
    """The error of a base model that compares its vectors as ragcun cannot."""
    return RagcunError(
        f"{origin} compares its vectors by {similarity}; ragcun compares by cosine, euclidean or dot. Save it with one of "
        "these: SentenceTransformer(MODEL, similarity_fn_name='cosine').save(FOLDER), then base_model: FOLDER"
    )


def without_pooling(origin: str) -> RagcunError:
    """The error of a base model that gives a vector for each token and none for the text."""
    return RagcunError(
        f"{origin} gives no vector of a whole text: it has no pooling. Give it the one that it was trained with: "
        "SentenceTransformer(modules=[Transformer(MODEL), Pooling(DIMENSION, 'mean')]).save(FOLDER), "
        "then base_model: FOLDER"
    )
