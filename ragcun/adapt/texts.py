"""The texts that a model is adapted to: a folder in BEIR's layout, a file of the user's, or vectors that are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.data.corpus import CorpusFile
from ragcun.data.text import document_text
from ragcun.encode.store import MANIFEST
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.passages import SUFFIXES, UserPassages


@dataclass(frozen=True)
class Texts:
    """Texts and their ids, in the order of the file."""

    ids: Sequence[str]
    texts: Sequence[str]


def is_stored(place: Path) -> bool:
    """Whether `place` is a folder of vectors, as `data/embeddings/<benchmark>` is."""
    return (place / MANIFEST).is_file()


def read_corpus(place: Path) -> Texts:
    """The documents of a folder in BEIR's layout, or of a .txt, .jsonl, .csv, .tsv or .parquet file.

    Raises:
        RagcunError: there is no such thing at `place`, or it cannot be read; the message names the file and the line.
    """
    if place.is_dir():
        if not (place / "corpus.jsonl").is_file():
            raise RagcunError(
                f"CORPUS is the folder {place}, which has no corpus.jsonl: name a folder in BEIR's layout, a file "
                f"({', '.join(SUFFIXES)}), or a folder of data/embeddings"
            )
        file = CorpusFile(place / "corpus.jsonl")
        texts = [document_text(title, body) for title, body in zip(file.titles, file.bodies, strict=True)]
        return Texts(file.ids, texts)
    return _of_file(place, "CORPUS")


def read_queries(file: Path) -> Texts:
    """The queries in a file, in the formats of a corpus; BEIR's queries.jsonl is one. Raises as `read_corpus` does."""
    return _of_file(file, "--queries")


def texts_by_id(texts: Texts) -> Mapping[str, str]:
    """The texts by id. Raises RagcunError where two have one id."""
    by_id = dict(zip(texts.ids, texts.texts, strict=True))
    if len(by_id) < len(texts.ids):
        raise RagcunError(
            f"{len(texts.ids) - len(by_id)} ids are given twice: judgements need an id of its own for each text"
        )
    return by_id


def _of_file(file: Path, name: str) -> Texts:
    passages = list(UserPassages(file, name).passages(SourceReport(str(file))))
    return Texts([passage.id for passage in passages], [document_text(p.title, p.text) for p in passages])
