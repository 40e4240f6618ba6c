"""The account of a source: right counts, the same in every process, and a few bytes a record."""

import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from ragcun.sources.source_report import SourceReport

ROOT = Path(__file__).parents[2]


def test_lengths_are_those_of_the_texts() -> None:
    report = SourceReport("test")
    draw = random.Random(0)
    lengths = [draw.randrange(1, 300) for _ in range(1000)]
    for length in lengths:
        report.keep({"query": "q", "positive": "x" * length})
    spread = report.as_dict()["lengths"]["positive"]
    low, median, high = np.percentile(lengths, (5, 50, 95))
    assert spread == {
        "shortest": min(lengths),
        "percentile_5": low,
        "median": median,
        "mean": round(sum(lengths) / len(lengths), 3),
        "percentile_95": high,
        "longest": max(lengths),
    }


def test_records_that_equal_an_earlier_one_are_duplicates() -> None:
    report = SourceReport("test")
    for query, positive in [("a", "b"), ("a", "c"), ("a", "b"), ("b", "a"), ("a", "b"), ("ab", ""), ("", "ab")]:
        report.keep({"query": query, "positive": positive})
    assert (report.kept, report.duplicates) == (7, 2)


def test_a_report_of_nothing_can_be_written() -> None:
    written = SourceReport("test").as_dict()
    assert (written["kept"], written["duplicates"], written["lengths"]) == (0, 0, {})


def test_where_nothing_was_kept_the_reasons_come_the_most_frequent_first() -> None:
    report = SourceReport("test")
    assert report.why_empty() == "0 rows were read"
    report.read = 5
    report.dropped.update({"no query": 1, "no positive": 4})
    assert report.why_empty() == "5 rows were read and dropped: 4 no positive, 1 no query"


def test_what_is_written_is_the_same_in_every_process() -> None:
    script = (
        "import json, random\nfrom ragcun.sources.source_report import SourceReport\nr = SourceReport('x')\nd = random.Random(1)\n"
        "for _ in range(500):\n"
        "    r.keep({'title': '', 'text': 'y' * d.randrange(90)})\n    r.dropped[str(d.random())[:3]] += 1\n"
        "print(json.dumps(r.as_dict()))"
    )
    written = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert written[0] == written[1]


def test_a_record_takes_a_hash_and_its_lengths_and_no_text() -> None:
    count = 50_000
    tracemalloc.start()
    try:
        report = SourceReport("test")
        for number in range(count):
            report.keep({"title": "t", "text": f"{number} {'x' * 500}"})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 8 bytes of hash, 4 of each length, and the eighth that an array keeps in reserve.
    assert held / count < (8 + 4 + 4) * 1.2
