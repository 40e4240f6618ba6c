"""What training has seen of a benchmark's test queries, told query by query."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.leakage import leakage, read_training_texts
from ragcun.pairs import PreparedPairs, write_pairs
from tests.tiny import tiny_benchmark

BENCHMARK = tiny_benchmark()
TEXTS = dict(zip(BENCHMARK.doc_ids, BENCHMARK.doc_texts, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training on positives relevant to q0; judged, but not relevant, to q1; of another subject. d20 is dev's own."""
    asked = BENCHMARK.queries["test"]
    rows = [
        *((TEXTS[document], "passage", "train") for document in ("d01", "d13")),
        ("a text of no document", "passage", "train"),
        (TEXTS["d20"], "passage", "dev"),
        # d30 is a passage of the store, but no positive.
        (TEXTS["d30"], "passage", "train"),
        (f" {asked['q3'].upper()} ", "query", "train"),
        (asked["q4"], "query", "dev"),
    ]
    empty = [np.empty(0, dtype=np.int64)]
    train = pd.DataFrame({"query": 5, "positive": [0, 1, 2, 0], "negatives": empty * 4})
    dev = pd.DataFrame({"query": [6], "positive": [3], "negatives": empty})
    texts = pd.DataFrame(rows, columns=["text", "role", "split"])
    write_pairs(tmp_path / "pairs", PreparedPairs(texts, train, dev, {}))
    return tmp_path / "pairs"


def test_only_a_relevant_document_that_is_a_train_positive_counts(folder: Path) -> None:
    assert BENCHMARK.qrels["test"]["q1"]["d13"] == 0
    assert BENCHMARK.qrels["test"]["q2"]["d20"] > 0
    found = leakage({"": BENCHMARK}, read_training_texts(folder))
    assert found.answered == {f"q{i}": i == 0 for i in range(6)}


def test_only_a_train_query_counts_however_it_is_written(folder: Path) -> None:
    found = leakage({"": BENCHMARK}, read_training_texts(folder))
    assert found.asked == {f"q{i}": i == 3 for i in range(6)}


def test_parts_carry_their_names_and_judgements_of_unknown_documents_do_not_count(folder: Path) -> None:
    judged = {**BENCHMARK.qrels, "test": {**BENCHMARK.qrels["test"], "q5": {"nowhere": 1}}}
    found = leakage({"a": BENCHMARK, "b": replace(BENCHMARK, qrels=judged)}, read_training_texts(folder))
    assert [name for name, answered in found.answered.items() if answered] == ["a/q0", "b/q0"]
    assert found.answered["b/q5"] is False
