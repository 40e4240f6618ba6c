"""A folder of .txt and .md files as documents: one a file, in the folder and in those below it."""

import logging
from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.sources.records import Passage

logger = logging.getLogger(__name__)

_SUFFIXES = (".txt", ".md")


def text_files(folder: Path) -> list[Path]:
    """The .txt and .md files in a folder and below it, sorted; hidden files and folders are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_text_folder(folder: Path) -> list[Passage]:
    """The documents: the id is the path from `folder` on, the title the first heading of a .md, else the file's name.

    Files without text, and those that are not UTF-8, are left out with a warning.

    Raises:
        RagcunError: no file is left.
    """
    found = [_document(folder, path) for path in text_files(folder)]
    documents = [one for one in found if one is not None]
    if not documents:
        raise RagcunError(f"CORPUS {folder} holds no .txt or .md file with text in UTF-8: name another folder")
    return documents


def _document(folder: Path, path: Path) -> Passage | None:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        logger.warning("%s is left out: it is not UTF-8 text", path)
        return None
    if not text:
        logger.warning("%s is left out: it is empty", path)
        return None
    title, _, rest = text.partition("\n")
    if path.suffix.lower() == ".md" and title.startswith("# "):
        return Passage(path.relative_to(folder).as_posix(), title.removeprefix("# ").strip(), rest.strip())
    return Passage(path.relative_to(folder).as_posix(), path.stem, text)
