"""A retrieval benchmark in BEIR's folder layout: read, check, write.

    corpus.jsonl        {"_id": ..., "title": ..., "text": ...}, the title may be missing
    queries.jsonl       {"_id": ..., "text": ...}, the queries of every split
    qrels/test.tsv      query-id, corpus-id, score, under a header line; qrels/dev.tsv may be there too

A split's queries are those its qrels judge. Whatever would quietly change a score (an unknown id, an id twice, an
empty text) is an error that names file and line. Layout: Thakur et al. 2021, arXiv 2104.08663; `beir`'s
`GenericDataLoader` loads what `write_benchmark` writes.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragcun.errors import RagcunError
from ragcun.files import atomic_folder
from ragcun.raw import document_text

SPLITS = ("test", "dev")
_COLUMNS = ("query-id", "corpus-id", "score")
_Line = TypeVar("_Line")


@dataclass(frozen=True)
class Benchmark:
    """A corpus of N documents in file order, and per split its queries and judgements.

    `queries[split]` is query id -> text, in file order; `qrels[split]` is query id -> document id -> score (a score
    above 0 is relevant). Both have the same query ids. The split `test` is always there, `dev` may be.
    """

    name: str
    doc_ids: list[str]
    titles: list[str]
    bodies: list[str]
    queries: dict[str, dict[str, str]]
    qrels: dict[str, dict[str, dict[str, int]]]

    @property
    def doc_texts(self) -> list[str]:
        """The N documents as models read them: title and text joined."""
        return [document_text(title, body) for title, body in zip(self.titles, self.bodies, strict=True)]

    @property
    def all_queries(self) -> dict[str, str]:
        """Query id -> text, of every split."""
        return {query: text for split in self.queries.values() for query, text in split.items()}


def write_benchmark(benchmark: Benchmark, folder: Path) -> None:
    """Write the BEIR folder, whole or not at all."""
    with atomic_folder(folder) as partial:
        documents = zip(benchmark.doc_ids, benchmark.titles, benchmark.bodies, strict=True)
        _write_jsonl(
            partial / "corpus.jsonl", ({"_id": i, "title": title, "text": body} for i, title, body in documents)
        )
        queries = benchmark.all_queries.items()
        _write_jsonl(partial / "queries.jsonl", ({"_id": i, "text": text} for i, text in queries))
        (partial / "qrels").mkdir()
        for split, qrels in benchmark.qrels.items():
            with (partial / "qrels" / f"{split}.tsv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(_COLUMNS)
                writer.writerows((query, doc, score) for query, docs in qrels.items() for doc, score in docs.items())


def read_benchmark(folder: Path, *, name: str | None = None) -> Benchmark:
    """Read and check the BEIR folder `folder`; the benchmark's name is the folder's unless given.

    Raises RagcunError, naming file and line, for: a missing file, no test qrels, malformed JSON, an id that is missing,
    no string or given twice, a document or query without text, qrels of other columns, a score that is no integer,
    a judgement of an unknown id, one given twice, a split without any relevant document.
    """
    if not folder.is_dir():
        raise RagcunError(f"there is no benchmark folder {folder}; give the path of a folder in BEIR's layout")
    titles, bodies = _read_corpus(folder / "corpus.jsonl")
    texts = _read_queries(folder / "queries.jsonl")
    queries, qrels = {}, {}
    for split in SPLITS:
        path = folder / "qrels" / f"{split}.tsv"
        if split == "dev" and not path.exists():
            continue
        judged = _read_qrels(path, known_queries=texts, known_documents=bodies)
        queries[split] = {query: text for query, text in texts.items() if query in judged}
        qrels[split] = {query: judged[query] for query in queries[split]}
    return Benchmark(name or folder.name, list(bodies), list(titles.values()), list(bodies.values()), queries, qrels)


def _write_jsonl(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read_corpus(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Document id -> title, document id -> text."""
    titles: dict[str, str] = {}
    bodies: dict[str, str] = {}
    for where, key, row in _read_jsonl(path):
        if key in bodies:
            raise RagcunError(f"{where}: the document id {key!r} is given twice; keep one of the two lines")
        title, body = _text(row, "title", where), _text(row, "text", where)
        if not document_text(title, body):
            raise RagcunError(f"{where}: document {key!r} has neither title nor text; give it one or remove it")
        titles[key], bodies[key] = title, body
    if not bodies:
        raise RagcunError(f"{path} is empty; it needs one document a line")
    return titles, bodies


def _read_queries(path: Path) -> dict[str, str]:
    """Query id -> text."""
    texts: dict[str, str] = {}
    for where, key, row in _read_jsonl(path):
        if key in texts:
            raise RagcunError(f"{where}: the query id {key!r} is given twice; keep one of the two lines")
        texts[key] = _text(row, "text", where)
        if not texts[key].strip():
            raise RagcunError(f"{where}: query {key!r} has an empty text; give it one, or remove it and its qrels")
    return texts


def _read_qrels(
    path: Path, *, known_queries: dict[str, str], known_documents: dict[str, str]
) -> dict[str, dict[str, int]]:
    """Query id -> document id -> score. The csv dialect is beir's own, so that odd ids mean the same to both."""
    qrels: dict[str, dict[str, int]] = {}
    if not path.is_file():
        raise RagcunError(
            f"{path} is missing: a benchmark needs judgements; add the file ({', '.join(_COLUMNS)}, tab-separated)"
        )
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        for row in _decoded(reader, path):
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(_COLUMNS):
                raise RagcunError(
                    f"{where}: {len(row)} columns instead of 3; write {', '.join(_COLUMNS)}, separated by tabs"
                )
            query, document, score = row
            if reader.line_num == 1:
                if _is_integer(score):
                    raise RagcunError(
                        f"{where}: the header is missing; add the line {', '.join(_COLUMNS)}, separated by tabs"
                    )
                continue
            if not _is_integer(score):
                raise RagcunError(
                    f"{where}: the score {score!r} is not an integer; write 0 for not relevant, 1 or more for relevant"
                )
            if query not in known_queries:
                raise RagcunError(
                    f"{where}: the query id {query!r} is not in queries.jsonl; add the query or remove the line"
                )
            if document not in known_documents:
                raise RagcunError(
                    f"{where}: the document id {document!r} is not in corpus.jsonl; add the document or remove the line"
                )
            if qrels.setdefault(query, {}).setdefault(document, int(score)) != int(score):
                raise RagcunError(
                    f"{where}: {query!r} and {document!r} are judged twice, differently; keep one of the two lines"
                )
    if not any(score > 0 for documents in qrels.values() for score in documents.values()):
        raise RagcunError(f"{path} judges no document relevant (score 1 or more); a benchmark needs at least one")
    return qrels


def _read_jsonl(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (file and line for messages, `_id`, object) for each line that is not blank."""
    if not path.is_file():
        raise RagcunError(
            f"{path} is missing; a folder in BEIR's layout has corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(_decoded(file, path), start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise RagcunError(f"{where}: malformed JSON ({error.msg}); write one JSON object a line") from error
            if not isinstance(row, dict):
                raise RagcunError(
                    f"{where}: {type(row).__name__} instead of a JSON object; write one JSON object a line"
                )
            key = row.get("_id")
            if not isinstance(key, str) or not key.strip() or any(c in key for c in "\t\r\n"):
                raise RagcunError(
                    f"{where}: `_id` is {key!r}; it must be a string, not blank, without tabs and line breaks"
                )
            yield where, key, row


def _decoded(lines: Iterator[_Line], path: Path) -> Iterator[_Line]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise RagcunError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


def _text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RagcunError(f"{where}: {key!r} is {type(value).__name__}; it must be a string")
    return value


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
