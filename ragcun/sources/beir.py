"""The public benchmarks of BEIR (Thakur et al. 2021, arXiv 2104.08663), from its server or a mirror.

Each is a zip file with a folder in BEIR's layout, CQADupStack's with one for each forum. The file is held to the MD5 that
BEIR publishes, what is in it to the counts in `beir_registry`, and the split that BEIR reports becomes `test`.
"""

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import Any

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.fetch.archives import extract_zip
from ragcun.fetch.http import Address, downloads_folder, fetch
from ragcun.sources import beir_sets

logger = logging.getLogger(__name__)


class BeirBenchmark:
    """The set `name` of `beir_registry`, from the folder `url` of a server.

    Args:
        published: whether it must be what BEIR published. Where not, as on a mirror that packed it anew, neither the MD5
            nor the counts are held to anything, and the report says so.

    Raises RagcunError for an unknown name.
    """

    def __init__(self, name: str, url: str, *, published: bool = True) -> None:
        known = beir_sets.REGISTRY
        if name not in known:
            raise RagcunError(f"BEIR has no public set {name!r}; data.benchmarks can name {', '.join(known)}")
        self.name = name
        self.published = published
        self.entry = known[name] if published else _without_figures(known[name])
        self.url = f"{url.rstrip('/')}/{name}.zip"
        self.label = f"BEIR's {name}.zip"

    def fetch(self, *, target: Path) -> None:
        """Write it, with its report, to the empty folder `target`; a set of parts to a folder there for each.

        The zip file stays in the cache folder: it is not downloaded a second time.

        Raises:
            RagcunError: it cannot be had, is not the published file, or does not hold what the registry says.
        """
        # What has no MD5 to be known by is kept apart, and not beyond its use.
        apart = "" if self.published else hashlib.sha256(self.url.encode()).hexdigest()[:16]
        archive = downloads_folder() / "beir" / apart / f"{self.name}.zip"
        fetch(self.url, archive, label=self.label, remedy="check the name and data.beir_url", md5=self.entry["md5"])
        parts: dict[str, dict[str, Any]] = self.entry.get("parts") or {"": self.entry}
        needed = {
            Path(part, file).as_posix()
            for part, expected in parts.items()
            for file in ("corpus.jsonl", "queries.jsonl", *(f"qrels/{split}.tsv" for split in expected["splits"]))
        }
        with tempfile.TemporaryDirectory(prefix=f".{self.name}.", suffix=".partial", dir=target.parent) as folder:
            logger.info("unpacking %s", archive)
            extract_zip(
                archive,
                Path(folder),
                folder=self.name,
                origin=self.label,
                wanted=lambda name: name.as_posix() in needed,
            )
            missing = sorted(file for file in needed if not Path(folder, file).is_file())
            if missing:
                raise RagcunError(
                    f"{self.label} lacks {', '.join(missing)}; name a mirror with BEIR's own in data.beir_url"
                )
            for part, expected in parts.items():
                self._write("/".join(filter(None, (self.name, part))), Path(folder, part), expected, target / part)
        if not self.published:
            archive.unlink()

    def _write(self, name: str, folder: Path, expected: dict[str, Any], target: Path) -> None:
        """Check one unpacked folder and write it to `target`, with its report."""
        rows = {split: _rows(folder / "qrels" / f"{split}.tsv") for split in expected["splits"]}
        reported = self.entry["reported"]
        (folder / "qrels" / f"{reported}.tsv").replace(folder / "qrels" / "test.tsv")
        benchmark = read_benchmark(
            folder, name=name, queries_are_documents=self.entry.get("queries_are_documents", False)
        )
        found = _counts(benchmark, rows, reported)
        known = _flat(expected)
        wrong = [
            f"{found[key]} {key} instead of {count}" for key, count in known.items() if count not in (None, found[key])
        ]
        if wrong:
            raise RagcunError(f"BEIR's {name} has {', '.join(wrong)}; name a mirror with BEIR's own in data.beir_url")
        md5 = known["md5"] = self.entry["md5"]
        origin = {
            "source": f"BEIR {name}",
            "url": str(Address(self.url)),
            "licence": self.entry["licence"],
            "revision": md5 and f"md5:{md5}",
            "reported_split": reported,
            "checked": sorted(key for key, count in known.items() if count is not None),
            "unchecked": sorted(key for key, count in known.items() if count is None),
        }
        write_benchmark(benchmark, target, origin)


def _without_figures(entry: Any) -> Any:
    """The same entry with every MD5 and count unknown."""
    if isinstance(entry, dict):
        return {key: None if key == "md5" else _without_figures(value) for key, value in entry.items()}
    return None if type(entry) is int else entry


def _rows(qrels: Path) -> int:
    """The judgements in the file, a line each below the header."""
    with qrels.open("rb") as file:
        return sum(bool(line.strip()) for line in file) - 1


def _counts(benchmark: Benchmark, rows: dict[str, int], reported: str) -> dict[str, int]:
    """What was found, under the keys of `_flat`. The reported split was read as `test`."""
    found = {"documents": len(benchmark.doc_ids)}
    for split, judgements in rows.items():
        found[f"queries in {split}"] = len(benchmark.queries["test" if split == reported else split])
        found[f"judgements in {split}"] = judgements
    return found


def _flat(expected: dict[str, Any]) -> dict[str, Any]:
    """What the registry expects, by what it counts."""
    return {
        "documents": expected["documents"],
        **{f"{what} in {split}": count for split, of in expected["splits"].items() for what, count in of.items()},
    }
