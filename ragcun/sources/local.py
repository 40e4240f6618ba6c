"""A user's own folders: a base model, and a benchmark in BEIR's layout. Both are copied, so that the run keeps what it used."""

import logging
import shutil
from pathlib import Path, PurePosixPath

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.data.text import document_text, normal_form
from ragcun.sources.model_folder import check_model_folder, is_taken

logger = logging.getLogger(__name__)


class LocalModel:
    """A SentenceTransformer folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()

    def fetch(self, *, target: Path) -> None:
        """Copy the model into the empty folder `target`, without pickled weights.

        Raises:
            RagcunError: there is no such folder, it is not a SentenceTransformer, or its weights are not safetensors.
        """
        origin = f"the base model folder {self.folder}"
        if not self.folder.is_dir():
            raise RagcunError(f"{origin} does not exist; correct base_model in params.yaml")
        check_model_folder(self.folder, origin=origin)
        # Links to files are followed: a Hugging Face snapshot is made of them.
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            if path.is_file() and is_taken(PurePosixPath(relative.as_posix())):
                (target / relative.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / relative)


class LocalBenchmark:
    """A BEIR folder on this machine, under the name that `data.local` gives it.

    Args:
        queries_are_documents: whether `data.queries_are_documents` names it.
    """

    def __init__(self, name: str, folder: Path, *, queries_are_documents: bool = False) -> None:
        self.name = name
        self.folder = folder.expanduser()
        self.queries_are_documents = queries_are_documents

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
        """Copy it, as far as it is BEIR's layout. Raises as `benchmark` does."""
        write_benchmark(
            self.benchmark(), target, {"source": f"data.local.{self.name}", "licence": None, "revision": None}
        )


def _is_document(query: str, benchmark: Benchmark, row: int) -> bool:
    """Whether the query's text is the document's title, its text, or both."""
    title, body = benchmark.titles[row], benchmark.bodies[row]
    return normal_form(query) in {normal_form(text) for text in (title, body, document_text(title, body))}
