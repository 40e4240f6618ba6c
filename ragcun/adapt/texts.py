"""The texts of a user's corpus: a folder in BEIR's layout, a file, or a folder of .txt and .md files; or stored vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ragcun.adapt.text_folder import read_text_folder, text_files
from ragcun.core.errors import RagcunError
from ragcun.data.corpus import CorpusFile
from ragcun.data.text import document_text
from ragcun.encode.store import MANIFEST
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.passages import SUFFIXES, UserPassages


@dataclass(frozen=True)
class Texts:
    """Documents or queries, in the order of the file: id, title, which may be empty, and body."""

    ids: Sequence[str]
    titles: Sequence[str]
    bodies: Sequence[str]

    @cached_property
    def texts(self) -> list[str]:
        """What models read: title and body."""
        return [document_text(title, body) for title, body in zip(self.titles, self.bodies, strict=True)]


def is_stored(place: Path) -> bool:
    """Whether `place` is a folder of vectors, as `data/embeddings/<benchmark>` is."""
    return (place / MANIFEST).is_file()


def corpus_files(place: Path) -> list[Path]:
    """The files that the texts of a corpus are read from, sorted.

    Raises:
        RagcunError: `place` is a folder that holds no texts.
    """
    if not place.is_dir():
        return [place]
    beir = place / "corpus.jsonl"
    files = [beir] if beir.is_file() else text_files(place)
    if not files:
        raise RagcunError(
            f"CORPUS is the folder {place}, which has no corpus.jsonl: name a folder in BEIR's layout, a file "
            f"({', '.join(SUFFIXES)}), a folder of .txt and .md files, or a folder of data/embeddings"
        )
    return files


def read_corpus(place: Path) -> Texts:
    """The documents of a folder in BEIR's layout, of a .txt, .jsonl, .csv, .tsv or .parquet file, or of a folder of .txt and .md.

    Raises:
        RagcunError: there is no such thing at `place`, or it cannot be read; the message names the file and the line.
    """
    files = corpus_files(place)
    if not place.is_dir():
        return _of_file(place, "CORPUS")
    if files == [place / "corpus.jsonl"]:
        file = CorpusFile(files[0])
        return Texts(file.ids, file.titles, file.bodies)
    documents = read_text_folder(place)
    return Texts([one.id for one in documents], [one.title for one in documents], [one.text for one in documents])


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
    return Texts([one.id for one in passages], [one.title for one in passages], [one.text for one in passages])
