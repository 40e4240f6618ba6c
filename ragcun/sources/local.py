"""A user's own folders: a base model, and a benchmark in BEIR's layout. Both are copied, so that the run keeps what it used."""

import shutil
from pathlib import Path, PurePosixPath

from ragcun.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.errors import RagcunError
from ragcun.sources.model_folder import check_model_folder, is_taken


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
    """A BEIR folder on this machine, under the name that `data.local` gives it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder.expanduser()

    def benchmark(self) -> Benchmark:
        """Read and check it. Raises RagcunError as `read_benchmark` does."""
        return read_benchmark(self.folder, name=self.name, strict=True)

    def fetch(self, *, target: Path) -> None:
        """Copy it, as far as it is BEIR's layout. Raises as `benchmark` does."""
        write_benchmark(
            self.benchmark(), target, {"source": f"data.local.{self.name}", "licence": None, "revision": None}
        )
