"""Benchmarks in BEIR's layout: BEIR's public sets (Thakur et al. 2021, arXiv 2104.08663), and a user's folder.

A public set is a zip file, from BEIR's server or a mirror, with a folder in BEIR's layout; CQADupStack's has one for each
forum. The file is held to the MD5 that BEIR publishes, its content to the counts in `beir_sets`, and the split that BEIR
reports becomes `test`.
"""

import hashlib
import logging
import tempfile
from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.data.text import document_keys, normal_form
from ragcun.fetch.archives import extract_zip
from ragcun.fetch.http import Address, downloads_folder, fetch
from ragcun.sources import beir_sets

logger = logging.getLogger(__name__)


class BeirBenchmark:
    """The set `name` of `beir_sets`, from the folder `url` of a server.

    Args:
        published: whether it must be what BEIR published. Where not, as on a mirror that packed it again, neither the MD5
            nor the counts are checked, and the report says so.

    Raises RagcunError for an unknown name.
    """

    def __init__(self, name: str, url: str, *, published: bool = True) -> None:
        known = beir_sets.REGISTRY
        if name not in known:
            raise RagcunError(f"BEIR has no public set {name!r}; data.benchmarks can name {', '.join(known)}")
        self.name, self.published, self.entry = name, published, known[name]
        self.url = f"{url.rstrip('/')}/{name}.zip"
        self.label = f"BEIR's {name}.zip"

    def fetch(self, *, target: Path) -> None:
        """Write it, with its report, to the empty folder `target`; a set of parts to a folder there for each.

        A published zip file stays in the cache folder: it is not downloaded a second time.

        Raises:
            RagcunError: it cannot be had, is not the published file, or does not hold what `beir_sets` says.
        """
        # Unverified archives get a folder per URL and are deleted after use.
        apart = "" if self.published else hashlib.sha256(self.url.encode()).hexdigest()[:16]
        archive = downloads_folder() / "beir" / apart / f"{self.name}.zip"
        md5 = self.entry.md5 if self.published else None
        fetch(self.url, archive, label=self.label, remedy="check the name and data.beir_url", md5=md5)
        with tempfile.TemporaryDirectory(prefix=f".{self.name}.", suffix=".partial", dir=target.parent) as folder:
            self._unpack(archive, Path(folder))
            for part, expected in self.entry.folders.items():
                self._write("/".join(filter(None, (self.name, part))), Path(folder, part), expected, target / part)
        if not self.published:
            archive.unlink()

    def _unpack(self, archive: Path, folder: Path) -> None:
        needed = {
            Path(part, file).as_posix()
            for part, expected in self.entry.folders.items()
            for file in ("corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in expected.splits))
        }
        logger.info("unpacking %s", archive)
        extract_zip(archive, folder, folder=self.name, origin=self.label, wanted=lambda name: name.as_posix() in needed)
        missing = sorted(file for file in needed if not (folder / file).is_file())
        if missing:
            raise RagcunError(
                f"{self.label} lacks {', '.join(missing)}; name a mirror with BEIR's own in data.beir_url"
            )

    def _write(self, name: str, folder: Path, expected: beir_sets.Folder, target: Path) -> None:
        """Check one unpacked folder and write it to `target`, with its report."""
        reported, rule = self.entry.reported, self.entry.queries_are_documents
        judgements = {split: _rows(folder / "qrels" / f"{split}.tsv") for split in expected.splits}
        (folder / "qrels" / f"{reported}.tsv").replace(folder / "qrels" / "test.tsv")
        benchmark = read_benchmark(folder, name=name, queries_are_documents=rule)
        # Of each figure, what was found and what was published.
        figures = {"documents": (len(benchmark.doc_ids), expected.documents)}
        for split, counts in expected.splits.items():
            queries = benchmark.queries["test" if split == reported else split]
            figures[f"queries in {split}"] = len(queries), counts.queries
            figures[f"judgements in {split}"] = judgements[split], counts.judgements
        wrong = [f"{found} {what} instead of {known}" for what, (found, known) in figures.items() if found != known]
        if wrong and self.published:
            raise RagcunError(f"BEIR's {name} has {', '.join(wrong)}; name a mirror with BEIR's own in data.beir_url")
        checks = sorted([*figures, "md5"])
        origin = {
            "source": f"BEIR {name}",
            "url": str(Address(self.url)),
            "licence": self.entry.licence,
            "revision": f"md5:{self.entry.md5}" if self.published else None,
            "reported_split": reported,
            "checked": checks if self.published else [],
            "unchecked": [] if self.published else checks,
        }
        write_benchmark(benchmark, target, origin)


def _rows(qrels: Path) -> int:
    """The judgements in the file, a line each below the header."""
    with qrels.open("rb") as file:
        return sum(bool(line.strip()) for line in file) - 1


class LocalBenchmark:
    """A user's folder in BEIR's layout, under the name that `data.local` gives it; copied, so that the run keeps what it used.

    Args:
        queries_are_documents: whether `data.queries_are_documents` names it.
    """

    def __init__(self, name: str, folder: Path, *, queries_are_documents: bool = False) -> None:
        self.name, self.folder, self.queries_are_documents = name, folder.expanduser(), queries_are_documents

    def benchmark(self) -> Benchmark:
        """Read and check it.

        Raises:
            RagcunError: as `read_benchmark` does; or its queries are said to be documents, and no query has a document's id.
        """
        benchmark = read_benchmark(
            self.folder, name=self.name, strict=True, queries_are_documents=self.queries_are_documents
        )
        queries = benchmark.all_queries
        shared = {document: row for row, document in enumerate(benchmark.doc_ids) if document in queries}
        if self.queries_are_documents and not shared:
            raise RagcunError(
                f"data.queries_are_documents names {self.name}, but none of its queries has the id of a document: give a "
                "query the id of the document that it is, or remove the name there"
            )
        same = sum(_is_document(queries[query], benchmark, row) for query, row in shared.items())
        if same and not self.queries_are_documents:
            logger.warning(
                "%s: %d of %d queries are documents of its corpus, with the same id and text, and will find themselves; "
                "name it in data.queries_are_documents to leave a query's own document out of its results",
                self.name,
                same,
                len(queries),
            )
        return benchmark

    def fetch(self, *, target: Path) -> None:
        """Copy the files of BEIR's layout. Raises as `benchmark` does."""
        write_benchmark(
            self.benchmark(), target, {"source": f"data.local.{self.name}", "licence": None, "revision": None}
        )


def _is_document(query: str, benchmark: Benchmark, row: int) -> bool:
    """Whether the query's text is the document's title, its text, or both."""
    title, body = benchmark.titles[row], benchmark.bodies[row]
    return normal_form(query) in (normal_form(title), *document_keys(title, body))
