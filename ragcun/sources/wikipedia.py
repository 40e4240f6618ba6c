"""Wikipedia as passages: articles of `wikimedia/wikipedia` drawn by a seed, cleaned and cut at the ends of sentences.

The seed orders the files of a dump, the row groups in each and, through a buffer, the articles. Files are fetched until
there are enough passages; a few hundred thousand come from one file of a large language.
"""

import logging
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from ragcun.core.errors import RagcunError
from ragcun.fetch.hub.client import HubRepo
from ragcun.param_data import Wikipedia as Settings
from ragcun.sources.clean import clean_text
from ragcun.sources.hub_rows import HubDataset, configurations
from ragcun.sources.records import Passage
from ragcun.sources.source_report import SourceReport
from ragcun.sources.wikipedia_text import clean_article, cut_passages

logger = logging.getLogger(__name__)

REPOSITORY = "wikimedia/wikipedia"
LICENCE = "CC BY-SA 3.0 and GFDL; text added since June 2023: CC BY-SA 4.0"

_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "title", "text")])
_BUFFER = 10_000


class Wikipedia:
    """The passages, fetched when they are read; `seed` draws the articles."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def passages(self, report: SourceReport) -> Iterator[Passage]:
        """Stream `num_passages`, or all there are. Raises RagcunError where they cannot be had or are not as expected."""
        dataset = self._dataset()
        report.revision = f"{REPOSITORY} {self._configuration} at {dataset.repo.commit}"
        report.licence = LICENCE
        taken = 0
        with tqdm(total=self.settings.num_passages, desc="Wikipedia", unit="passage", disable=None) as bar:
            for row in dataset.rows(report, seed=self.seed, buffer=_BUFFER):
                for passage in self._of_article(row, report):
                    yield passage
                    bar.update()
                    taken += 1
                    if taken == self.settings.num_passages:
                        return
        logger.warning("%s has %d passages, fewer than num_passages", self._configuration, taken)

    @property
    def _configuration(self) -> str:
        return f"{self.settings.dump_date}.{self.settings.language}"

    def _dataset(self) -> HubDataset:
        revision, setting = self.settings.revision, "data.passages wikipedia"
        repo = HubRepo("dataset", REPOSITORY, revision, setting=setting, instead="name other data.passages")
        known = configurations(repo)
        dates = sorted({name.partition(".")[0] for name in known})
        if known and self.settings.dump_date not in dates:
            raise RagcunError(
                f"{REPOSITORY} has no dump of {self.settings.dump_date}; there are {', '.join(dates)}: correct "
                "data.wikipedia.dump_date"
            )
        if known and self._configuration not in known:
            dump = f"{self.settings.dump_date}."
            languages = ", ".join(name.removeprefix(dump) for name in known if name.startswith(dump))
            raise RagcunError(
                f"{REPOSITORY} has no language {self.settings.language!r} in the dump of {self.settings.dump_date}; there "
                f"are {languages}: correct data.wikipedia.language"
            )
        return HubDataset(repo, configuration=self._configuration, split="train", schema=_SCHEMA)

    def _of_article(self, row: dict[str, Any], report: SourceReport) -> Iterator[Passage]:
        report.read += 1
        if not row["id"] or not (row["text"] or "").strip():
            report.dropped["articles without an id or a text"] += 1
            return
        low, high = self.settings.min_length, self.settings.max_length
        title, number = clean_text(row["title"] or "", report), 0
        for text in cut_passages(clean_article(row["text"]), min_length=low, max_length=high):
            # Only now: a whole article may be longer than what clean_text lets through.
            text = clean_text(text, report)
            if len(text) < low:
                report.dropped[f"passages shorter than {low} characters"] += 1
                continue
            yield Passage(f"{row['id']}-{number}", title, text)
            number += 1
        if not number:
            report.dropped["articles without a passage"] += 1
