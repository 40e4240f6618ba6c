"""A retrieval benchmark in BEIR's folder layout: read, check, write.

    corpus.jsonl        {"_id": ..., "title": ..., "text": ...}, the title may be missing
    queries.jsonl       {"_id": ..., "text": ...}, the queries of every split
    qrels/test.tsv      query-id, corpus-id, score, under a header line; qrels/dev.tsv may be there too

A split's queries are those its qrels judge. Whatever would quietly change a score (an unknown query, an id twice, an
empty query) is an error that names file and line. A folder may instead hold several such folders, its parts, each searched
by itself (CQADupStack's forums). Layout: Thakur et al. 2021, arXiv 2104.08663; `beir`'s `GenericDataLoader` reads it.
"""

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_json
from ragcun.data.corpus import CorpusFile, LazyTexts, json_lines, text_of
from ragcun.data.text import document_text

logger = logging.getLogger(__name__)

SPLITS = ("test", "dev")
_COLUMNS = ("query-id", "corpus-id", "score")
_REPORT = "report.json"


@dataclass(frozen=True)
class Benchmark:
    """A corpus of N documents in file order, and per split its queries and judgements.

    `queries[split]` is query id -> text, in file order; `qrels[split]` is query id -> document id -> score (a score
    above 0 is relevant). Both have the same query ids. The split `test` is always there, `dev` may be.
    `queries_are_documents`: the queries are documents of the corpus, under the same ids (as in ArguAna), so a query's own
    document is no result. Elsewhere a document that happens to have a query's id is a document like any other.
    """

    name: str
    doc_ids: Sequence[str]
    titles: Sequence[str]
    bodies: Sequence[str]
    queries: dict[str, dict[str, str]]
    qrels: dict[str, dict[str, dict[str, int]]]
    queries_are_documents: bool = False

    @property
    def doc_texts(self) -> Sequence[str]:
        """The N documents as models read them: title and text joined, when asked for."""
        return LazyTexts(len(self.doc_ids), lambda row: document_text(self.titles[row], self.bodies[row]))

    @property
    def all_queries(self) -> dict[str, str]:
        """Query id -> text, of every split."""
        return {query: text for split in self.queries.values() for query, text in split.items()}

    @property
    def own_documents(self) -> dict[str, str]:
        """Query id -> the id of the document that the query is; empty unless queries are documents."""
        return {query: query for query in self.all_queries} if self.queries_are_documents else {}


def write_benchmark(benchmark: Benchmark, folder: Path, origin: Mapping[str, Any] | None = None) -> None:
    """Write the BEIR folder, whole or not at all, with report.json: `origin` (source, licence, revision) and the counts."""
    with atomic_folder(folder) as partial:
        rule = {"queries_are_documents": benchmark.queries_are_documents}
        write_json(partial / _REPORT, {**(origin or {}), **rule, **count_benchmark(benchmark)})
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


def read_benchmark(
    folder: Path, *, name: str | None = None, strict: bool = False, queries_are_documents: bool | None = None
) -> Benchmark:
    """Read and check the BEIR folder `folder`.

    Documents without text, which real collections have, get a warning. So do judgements of unknown documents: published
    benchmarks have them, and their scores count them.

    Args:
        name: of the benchmark; the folder's unless given.
        strict: whether a judgement of an unknown document is an error; a user probably wrote an id in two ways.
        queries_are_documents: as report.json says, unless given; False without a report.

    Raises RagcunError, naming file and line, for: a missing file, no test qrels, malformed JSON, an id that is missing,
    no string or given twice, a query without text, qrels of other columns, a score that is no integer, a judgement of
    an unknown query, two that differ, a split without any relevant document.
    """
    if not folder.is_dir():
        raise RagcunError(f"there is no benchmark folder {folder}; give the path of a folder in BEIR's layout")
    corpus = CorpusFile(folder / "corpus.jsonl")
    texts = _read_queries(folder / "queries.jsonl")
    known = set(corpus.ids)
    queries, qrels = {}, {}
    for split in SPLITS:
        path = folder / "qrels" / f"{split}.tsv"
        if split == "test" or path.exists():
            judged = read_qrels(path, known_queries=texts, known_documents=known, strict=strict)
            queries[split] = {query: text for query, text in texts.items() if query in judged}
            qrels[split] = {query: judged[query] for query in queries[split]}
    rule = _stored_rule(folder) if queries_are_documents is None else queries_are_documents
    benchmark = Benchmark(name or folder.name, corpus.ids, corpus.titles, corpus.bodies, queries, qrels, rule)
    if corpus.without_text:
        logger.warning("%s: %d documents have neither title nor text", benchmark.name, corpus.without_text)
    _warn_of_own_answers(benchmark)
    return benchmark


def read_parts(folder: Path) -> dict[str, Benchmark]:
    """The parts of a benchmark by their folders' names, sorted; a benchmark without parts is under "". Raises RagcunError."""
    parts = sorted(path.parent.name for path in folder.glob("*/corpus.jsonl"))
    if (folder / "corpus.jsonl").exists() or not parts:
        parts = [""]
    return {part: read_benchmark(folder / part) for part in parts}


def count_benchmark(benchmark: Benchmark) -> dict[str, Any]:
    """The numbers of documents, of those without text, and for each split of queries and judgements."""
    known = set(benchmark.doc_ids)
    splits = {}
    for split, qrels in benchmark.qrels.items():
        judged = [(document, score) for documents in qrels.values() for document, score in documents.items()]
        splits[split] = {
            "queries": len(qrels),
            "judgements": len(judged),
            "relevant": sum(score > 0 for _, score in judged),
            "judgements_of_unknown_documents": sum(document not in known for document, _ in judged),
        }
    return {
        "documents": len(benchmark.doc_ids),
        "documents_without_text": sum(not text for text in benchmark.doc_texts),
        "splits": splits,
    }


def _stored_rule(folder: Path) -> bool:
    path = folder / _REPORT
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("queries_are_documents"))


def _warn_of_own_answers(benchmark: Benchmark) -> None:
    """Warn where a query's own document, which is left out of its results, is judged relevant."""
    judged = {query: documents for qrels in benchmark.qrels.values() for query, documents in qrels.items()}
    lost = sum(judged[query].get(document, 0) > 0 for query, document in benchmark.own_documents.items())
    if lost:
        logger.warning(
            "%s: of %d queries the document with the query's own id is judged relevant, and left out of the results all "
            "the same: queries are documents here",
            benchmark.name,
            lost,
        )


def _write_jsonl(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read_queries(path: Path) -> dict[str, str]:
    """Query id -> text."""
    texts: dict[str, str] = {}
    for where, _, key, row in json_lines(path):
        if key in texts:
            raise RagcunError(f"{where}: the query id {key!r} is given twice; keep one of the two lines")
        texts[key] = text_of(row, "text", where)
        if not texts[key].strip():
            raise RagcunError(f"{where}: query {key!r} has an empty text; give it one, or remove it and its qrels")
    return texts


def read_qrels(
    path: Path, *, known_queries: dict[str, str], known_documents: set[str], strict: bool
) -> dict[str, dict[str, int]]:
    """Read a file of judgements: query id -> document id -> score.

    Raises:
        RagcunError: as `read_benchmark` does.
    """
    qrels: dict[str, dict[str, int]] = {}
    unknown = 0
    for where, query, document, score in _judgements(path):
        if query not in known_queries:
            raise RagcunError(
                f"{where}: the query id {query!r} is not in queries.jsonl; add the query or remove the line"
            )
        if strict and document not in known_documents:
            raise RagcunError(
                f"{where}: the document id {document!r} is not in corpus.jsonl; add the document or remove the line"
            )
        judged = qrels.setdefault(query, {})
        unknown += document not in known_documents and document not in judged
        if judged.setdefault(document, score) != score:
            raise RagcunError(
                f"{where}: {query!r} and {document!r} are judged twice, differently; keep one of the two lines"
            )
    if unknown:
        logger.warning("%s: %d judgements are of documents that are not in corpus.jsonl", path, unknown)
    if not any(score > 0 for documents in qrels.values() for score in documents.values()):
        raise RagcunError(f"{path} judges no document relevant (score 1 or more); a benchmark needs at least one")
    return qrels


class _Judgement(NamedTuple):
    """A line of qrels, and where it stands."""

    where: str
    query: str
    document: str
    score: int


def _judgements(path: Path) -> Iterator[_Judgement]:
    """The lines below the header. The csv dialect is beir's own, so that odd ids mean the same to both."""
    columns = ", ".join(_COLUMNS)
    if not path.is_file():
        raise RagcunError(f"{path} is missing: a benchmark needs judgements; add the file ({columns}, tab-separated)")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        try:
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if len(row) != len(_COLUMNS):
                    raise RagcunError(f"{where}: {len(row)} columns instead of 3; write {columns}, separated by tabs")
                query, document, text = row
                score = _integer(text)
                if reader.line_num == 1:
                    if score is not None:
                        raise RagcunError(f"{where}: the header is missing; add the line {columns}, separated by tabs")
                elif score is None:
                    raise RagcunError(
                        f"{where}: the score {text!r} is not an integer; write 0 for not relevant, 1 or more for relevant"
                    )
                else:
                    yield _Judgement(where, query, document, score)
        except UnicodeDecodeError as error:
            raise RagcunError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
