"""The command `ragcun`."""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragcun.core.disk import full_disk
from ragcun.core.errors import RagcunError

_CORPUS = (
    "a folder in BEIR's layout; a .txt (a text a line), .jsonl, .csv, .tsv or .parquet file with `text` and perhaps `title` "
    "and `_id`; a folder of .txt and .md files"
)
# `ragcun.adapt.rule.DEFAULT_ISOSCORE`, said here so that `--help` imports no library of models.
_ISOSCORE = 0.30

_ADAPT = """\
Adapt MODEL to CORPUS without a label: embed the corpus and crops of its documents that stand in for queries; subtract their
mean, and whiten by what differs between a crop and its document; write the model, with that in its last layer, to OUT.
A corpus that is isotropic enough is left alone, and OUT is not written. See docs/adapt.md.
"""
_PROJECT = """\
Project VECTORS, which MODEL's base gave, to the vectors that MODEL gives: an index of the base becomes one of the model
without encoding a text again. The base is not loaded; vectors are read and written in chunks. See docs/serving.md.
"""

_SEARCH = """\
Search CORPUS with MODEL: index it once, then answer each QUERY, or ask for queries without one. The index is kept in the
user's cache folder and used again while model and corpus are unchanged. See docs/serving.md.
"""

_EXPORT = """\
Export MODEL to OUT: the SentenceTransformer folder, a copy for older clients, one ONNX graph of the whole model in fp32 and
int8, a model card, and parity.json, which shows how near each is to the model. It fails where one, but for int8, is not.
See docs/serving.md.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 for a mistake in what it was given, 2 for one in how it was called."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "sentence_transformers", "transformers", "bm25s"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return int(options.run(options))
    except Exception as error:
        full = full_disk(error)
        if full is None and not isinstance(error, RagcunError):
            raise
        print(f"error: {full or error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ragcun", description="Adapt and serve text embedders for retrieval.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_adapt(commands)
    _add_project(commands)
    _add_search(commands)
    _add_export(commands)
    return parser


def _add_adapt(commands: Any) -> None:
    adapt = commands.add_parser("adapt", help="adapt a model to a corpus, without a label", description=_ADAPT)
    adapt.set_defaults(run=_adapt)
    adapt.add_argument("model", metavar="MODEL", help="a folder in models/, or any SentenceTransformer folder or name")
    adapt.add_argument(
        "corpus",
        metavar="CORPUS",
        type=Path,
        help=f"{_CORPUS}; or a folder of data/embeddings",
    )
    adapt.add_argument("out", metavar="OUT", type=Path, help="the folder to write; it must not be there")
    adapt.add_argument("--queries", metavar="FILE", type=Path, help="queries without judgements, in the same formats")
    adapt.add_argument(
        "--qrels",
        metavar="FILE",
        type=Path,
        help="judgements of --queries, in BEIR's qrels format: what to change is then chosen on them, by cross-validation",
    )
    adapt.add_argument(
        "--to-isoscore",
        metavar="X",
        type=_isoscore,
        default=_ISOSCORE,
        help="leave a corpus alone that has this IsoScore, and whiten no other beyond it (%(default)s)",
    )
    adapt.add_argument("--json", action="store_true", help="print the figures as JSON")


def _add_project(commands: Any) -> None:
    project = commands.add_parser(
        "project", help="turn vectors of the base into vectors of a model", description=_PROJECT
    )
    project.set_defaults(run=_project)
    project.add_argument("model", metavar="MODEL", type=Path, help="a folder in models/ whose base was frozen")
    project.add_argument(
        "vectors",
        metavar="VECTORS",
        type=Path,
        help="a .npy (N, d); a .parquet with one column of vectors, whose other columns are kept; or a folder of "
        "data/embeddings",
    )
    project.add_argument("out", metavar="OUT", type=Path, help="the file or folder to write; it must not be there")
    project.add_argument(
        "--query", action="store_true", help="of a folder, project the queries' vectors and not the documents'"
    )
    project.add_argument("--normalize", action="store_true", help="write vectors of length 1")
    project.add_argument("--json", action="store_true", help="print the figures as JSON")


def _add_search(commands: Any) -> None:
    search = commands.add_parser("search", help="search a corpus with a model", description=_SEARCH)
    search.set_defaults(run=_search)
    search.add_argument("model", metavar="MODEL", help="a folder in models/, or any SentenceTransformer folder or name")
    search.add_argument("corpus", metavar="CORPUS", type=Path, help=_CORPUS)
    search.add_argument(
        "queries", metavar="QUERY", nargs="*", help="a query, in quotes; without one, they are read in turn"
    )
    search.add_argument(
        "--top", metavar="K", type=_positive, default=10, help="how many documents to show (%(default)s)"
    )
    ranking = search.add_mutually_exclusive_group()
    ranking.add_argument("--bm25", action="store_true", help="rank by BM25; MODEL is not loaded")
    ranking.add_argument("--fuse", action="store_true", help="rank by MODEL and by BM25, and fuse by reciprocal rank")
    search.add_argument("--int8", action="store_true", help="keep vectors in a quarter of the bytes")
    search.add_argument("--dims", metavar="N", type=_positive, help="keep the first N dimensions of each vector")
    search.add_argument("--index", metavar="FOLDER", type=Path, help="where the index is kept")
    search.add_argument("--json", action="store_true", help="print each query's results as a line of JSON")


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write a model for every client", description=_EXPORT)
    export.set_defaults(run=_export)
    export.add_argument("model", metavar="MODEL", help="a folder in models/, or any SentenceTransformer folder or name")
    export.add_argument("out", metavar="OUT", type=Path, help="the folder to write; it must not be there")
    export.add_argument(
        "--project",
        metavar="FOLDER",
        type=Path,
        default=Path("."),
        help="where metrics/ and data/ lie, for the card and for NDCG@10 on dev (the working folder)",
    )
    export.add_argument("--json", action="store_true", help="print the figures as JSON")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _isoscore(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _adapt(options: argparse.Namespace) -> int:
    # Imports the libraries of models: not for --help.
    from ragcun.adapt.command import Request, adapt

    done = adapt(
        Request(options.model, options.corpus, options.out, options.queries, options.qrels, options.to_isoscore)
    )
    print(json.dumps(done) if options.json else _told(done))
    return 0


def _project(options: argparse.Namespace) -> int:
    from ragcun.serve.project import Request, project

    done = project(Request(options.model, options.vectors, options.out, options.query, options.normalize))
    said = f"{done['vectors']:,} vectors of {done['dimensions']} dimensions written: {done['out']}"
    print(json.dumps(done) if options.json else said)
    return 0


def _search(options: argparse.Namespace) -> int:
    from ragcun.serve.search import Ranking, Request, Searcher, as_json, as_text

    ranking: Ranking = "bm25" if options.bm25 else "fuse" if options.fuse else "dense"
    searcher = Searcher(
        Request(options.model, options.corpus, options.index, ranking, options.top, options.dims, options.int8)
    )
    for query in options.queries or _asked():
        results = searcher.find(query)
        print(json.dumps(as_json(query, results)) if options.json else as_text(results), flush=True)
    return 0


def _export(options: argparse.Namespace) -> int:
    from ragcun.serve.export import Request, as_text, export

    parity = export(Request(options.model, options.out, options.project))
    print(json.dumps(parity) if options.json else as_text(parity, options.out))
    return 0


def _asked() -> Iterator[str]:
    """The queries that a user types, or that a file on standard input holds, one a line."""
    prompt = "query> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
        except EOFError:
            return
        if line.strip():
            yield line


def _told(done: dict[str, Any]) -> str:
    lines = [
        f"statistics of {done['documents']:,} documents, {done['stand_in_queries']:,} crops that stand in for queries, "
        f"and {done['queries']:,} queries",
        f"IsoScore of the corpus: {done['isoscore_before']:.3f} before, {done['isoscore_after']:.3f} after; "
        f"γ = {done['gamma']:.3f}",
    ]
    judged = done.get("judged")
    if judged:
        low, high = judged["interval"]
        lines.append(
            f"NDCG@10 of {judged['queries']} judged queries: {judged['ndcg@10']:.4f}; chosen on the others, the map gains "
            f"{judged['gain']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
        )
    if done["adapted"]:
        lines.append(f"written: {done['out']}")
    elif judged:
        lines.append("left alone: no map is better on the judged queries; nothing is written")
    else:
        lines.append(
            f"left alone: the corpus is isotropic enough (IsoScore {done['to_isoscore']:.2f} or more); nothing is written"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
