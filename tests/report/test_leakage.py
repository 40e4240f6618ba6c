"""What training and selection have seen of a benchmark's test queries, told query by query."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.data.benchmark import Benchmark
from ragcun.data.pairs import PreparedPairs, write_pairs
from ragcun.report import leakage as module
from ragcun.report.leakage import leakage, read_seen_texts
from tests.tiny import tiny_benchmark

BENCHMARK = tiny_benchmark()
TEXTS = dict(zip(BENCHMARK.doc_ids, BENCHMARK.doc_texts, strict=True))
TITLES = dict(zip(BENCHMARK.doc_ids, BENCHMARK.titles, strict=True))
BODIES = dict(zip(BENCHMARK.doc_ids, BENCHMARK.bodies, strict=True))
ASKED = BENCHMARK.queries["test"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training on positives relevant to q0; judged, but not relevant, to q1; of another subject. d20 is dev's own."""
    rows = [
        *((TEXTS[document], "passage", "train") for document in ("d01", "d13")),
        ("a text of no document", "passage", "train"),
        (TEXTS["d20"], "passage", "dev"),
        # d30 is a passage of the store, but no positive.
        (TEXTS["d30"], "passage", "train"),
        (f" {ASKED['q3'].upper()} ", "query", "train"),
        (ASKED["q4"], "query", "dev"),
    ]
    return written(tmp_path / "pairs", rows, train=[(5, 0), (5, 1), (5, 2), (5, 0)], dev=[(6, 3)])


def written(
    folder: Path, rows: list[tuple[str, str, str]], *, train: list[tuple[int, int]], dev: list[tuple[int, int]]
) -> Path:
    """Pairs of these texts; `train` and `dev` have query and positive."""
    frames = []
    for pairs in (train, dev):
        frame = pd.DataFrame(pairs, columns=["query", "positive"], dtype=np.int64)
        frames.append(frame.assign(negatives=[np.empty(0, dtype=np.int64)] * len(pairs)))
    write_pairs(folder, PreparedPairs(pd.DataFrame(rows, columns=["text", "role", "split"]), *frames, {}))
    return folder


def passages(folder: Path, *texts: str) -> Path:
    """Pairs of these train passages, the first of which is a positive."""
    rows = [(text, "passage", "train") for text in texts]
    queries = [("a train query", "query", "train"), ("a dev query", "query", "dev")]
    answer = ("an answer", "passage", "dev")
    return written(folder, [*rows, answer, *queries], train=[(len(rows) + 1, 0)], dev=[(len(rows) + 2, len(rows))])


def seen_of(folder: Path, column: str, validation: Benchmark | None = None) -> set[str]:
    """The test queries of which the column is true."""
    found = leakage({"": BENCHMARK}, read_seen_texts(folder, validation))
    assert found.index.tolist() == [f"q{i}" for i in range(6)]
    return set(found.index[found[column]])


def test_only_a_relevant_document_that_is_a_train_positive_counts(folder: Path) -> None:
    assert BENCHMARK.qrels["test"]["q1"]["d13"] == 0
    assert BENCHMARK.qrels["test"]["q2"]["d20"] > 0
    assert seen_of(folder, "answer_is_training_positive") == {"q0"}


def test_an_answer_that_is_any_train_passage_is_told_apart(folder: Path) -> None:
    """Given, mined and store negatives, and what pretraining is made of, are train passages that are no positives."""
    assert BENCHMARK.qrels["test"]["q3"]["d30"] > 0
    assert seen_of(folder, "answer_is_training_passage") == {"q0", "q3"}


def test_only_a_train_query_counts_however_it_is_written(folder: Path) -> None:
    assert seen_of(folder, "query_in_training") == {"q3"}


def test_what_chooses_the_checkpoint_is_told_apart_from_training(folder: Path) -> None:
    assert seen_of(folder, "query_in_dev") == {"q4"}
    assert seen_of(folder, "answer_is_dev_positive") == {"q2"}


def test_the_validation_benchmarks_dev_split_is_seen_by_the_choice_too(folder: Path) -> None:
    """Of its dev split the queries and the documents relevant to them, and nothing of its test split."""
    questions = {"a": ASKED["q0"].title(), "b": "a question of its own"}
    validation = replace(
        BENCHMARK,
        queries={"test": {"t": ASKED["q5"]}, "dev": questions},
        qrels={"test": {"t": {"d51": 1}}, "dev": {"a": {"d01": 0, "d10": 2}, "b": {"nowhere": 1}}},
    )
    assert BENCHMARK.qrels["test"]["q1"]["d10"] > 0
    assert seen_of(folder, "query_in_dev", validation) == {"q0", "q4"}
    assert seen_of(folder, "answer_is_dev_positive", validation) == {"q1", "q2"}
    assert seen_of(folder, "query_in_training", validation) == {"q3"}
    assert seen_of(folder, "answer_is_training_passage", validation) == {"q0", "q3"}


def test_a_document_without_a_body_is_not_found_by_the_validations_empty_bodies(tmp_path: Path) -> None:
    """Two documents have a title alone; their titles differ, so neither is the other."""
    bodies = ["" if document in ("d00", "d10") else body for document, body in BODIES.items()]
    benchmark = replace(BENCHMARK, bodies=bodies)
    validation = replace(benchmark, qrels={**BENCHMARK.qrels, "dev": {"v1": {"d10": 1}}})
    found = leakage({"": benchmark}, read_seen_texts(passages(tmp_path / "pairs", "a passage"), validation))
    assert found.index[found["answer_is_dev_positive"]].tolist() == ["q1"]


def test_documents_are_the_same_by_their_body_alone_and_in_any_white_space_or_unicode_form(tmp_path: Path) -> None:
    """Pairs bring bodies where the benchmark has titles, and no two sources write a text alike."""
    accented = replace(BENCHMARK, bodies=[f"{body} café" for body in BODIES.values()])
    assert TITLES["d00"], "else the body is the whole"
    body = unicodedata.normalize("NFD", f"{BODIES['d00']} café")
    whole = f"{TITLES['d10']}\n\t{BODIES['d10']}  café"
    assert body != accented.bodies[0]
    for name, texts in (("positive", (body, whole)), ("passage", ("another", body, whole))):
        folder = passages(tmp_path / name, *texts)
        found = leakage({"": accented}, read_seen_texts(folder))
        assert found.index[found["answer_is_training_passage"]].tolist() == ["q0", "q1"]
        expected = ["q0"] if name == "positive" else []
        assert found.index[found["answer_is_training_positive"]].tolist() == expected


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_texts_are_numbered_over_all_batches_of_the_file(
    folder: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positives are known by their row, so a number that began anew in each batch would take other texts for them."""
    expected = leakage({"": BENCHMARK}, read_seen_texts(folder))
    monkeypatch.setattr(module, "_BATCH", batch)
    pd.testing.assert_frame_equal(leakage({"": BENCHMARK}, read_seen_texts(folder)), expected)
    assert expected["answer_is_training_positive"].sum() == expected["answer_is_dev_positive"].sum() == 1, "vacuous"


def test_parts_carry_their_names_and_judgements_of_unknown_documents_do_not_count(folder: Path) -> None:
    judged = {**BENCHMARK.qrels, "test": {**BENCHMARK.qrels["test"], "q5": {"nowhere": 1}}}
    found = leakage({"a": BENCHMARK, "b": replace(BENCHMARK, qrels=judged)}, read_seen_texts(folder))
    answered = found["answer_is_training_positive"]
    assert found.index[answered].tolist() == ["a/q0", "b/q0"]
    assert not answered["b/q5"]
