"""A hundred fetches of models and data from a hub that misbehaves at random: each ends whole, or in a clear error."""

import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.param_data import Wikipedia as Settings
from ragcun.sources.models import HubModel
from ragcun.sources.records import read_passage_records, write_passage_records
from ragcun.sources.source_report import SourceReport
from ragcun.sources.wikipedia import REPOSITORY, Wikipedia
from tests.servers.http import Fault, Request, random_faults
from tests.servers.hub import HubServer, Repo, article, use_hub, wikipedia_files
from tests.sources.conftest import MODEL_FILES, files_of

logger = logging.getLogger(__name__)

FETCHES = 100
WEIGHTS = random.Random(0).randbytes(300_000)
FILES = {**MODEL_FILES, "model.safetensors": WEIGHTS}
REPOS = (
    Repo("model", "maker/model", FILES),
    Repo("dataset", REPOSITORY, wikipedia_files([article(i) for i in range(60)], shards=3)),
)
SETTINGS = Settings(
    revision="main", language="en", dump_date="20231101", num_passages=999, min_length=20, max_length=400
)
# What the article `i` gives.
EXPECTED = {f"{i}-0": article(i)["text"] for i in range(60)}


class _Hub(HubServer):
    def next_fault(self, request: Request) -> Fault | None:
        """As drawn, but that the list of files comes as it is: it holds the hashes, and only TLS could vouch for it."""
        fault = super().next_fault(request)
        return None if fault is Fault.FLIPPED_BYTE and request.path.startswith("/api") else fault


def fetch_model(folder: Path) -> None:
    target = folder / "model"
    target.mkdir(parents=True)
    HubModel("maker/model").fetch(target=target)
    files = files_of(target)
    files.pop("hub.json")
    assert files == FILES


def fetch_passages(folder: Path) -> None:
    report = SourceReport("wikipedia")
    try:
        write_passage_records(Wikipedia(SETTINGS, 1).passages(report), folder, report)
    except RagcunError:
        assert not folder.exists(), "an error left something that looks complete"
        raise
    assert {passage.id: passage.text for passage in read_passage_records(folder)} == EXPECTED


@pytest.mark.slow
def test_every_fetch_ends_whole_or_in_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    outcomes: Counter[str] = Counter()
    met: Counter[Fault] = Counter()
    messages: list[str] = []
    for number in range(FETCHES):
        rng = random.Random(number)
        fetch, what = rng.choice([(fetch_model, "model"), (fetch_passages, "dataset")])
        # From a hub that fails now and then to one that hardly answers.
        faults = random_faults(rng, share=rng.choice([0.2, 0.5, 0.8, 0.95]))
        folder = tmp_path / str(number)
        folder.mkdir()
        with _Hub(REPOS, faults=faults, stall=1.0, slow=0.05) as hub, monkeypatch.context() as patched:
            use_hub(hub, patched, folder)
            try:
                fetch(folder / "first")
                outcomes[f"{what}: whole"] += 1
            except RagcunError as error:
                outcomes[f"{what}: error"] += 1
                messages.append(str(error))
                # What was left in the cache does not mislead the next one.
                hub.faulty = lambda request: False
                fetch(folder / "second")
            met += hub.met
    record_property("fetches", dict(outcomes))
    record_property("faults", {fault.name: count for fault, count in met.items()})
    logger.info("%d fetches: %s; faults met: %s", FETCHES, dict(outcomes), {f.name: n for f, n in met.items()})
    assert sum(outcomes.values()) == FETCHES
    # Cause; remedy.
    assert all("; " in message for message in messages)
    assert set(met) == set(Fault)
    assert {outcome.split(": ")[1] for outcome in outcomes} == {"whole", "error"}
