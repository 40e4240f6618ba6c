"""Pairs that name no split: what shares an answer stays together, in any number, and what that costs is said."""

import logging
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.text import query_key
from ragcun.param_data import OwnPairs as Settings
from ragcun.sources.records import Pair
from ragcun.sources.user_files.splits import Draw
from tests.preparing import prepare
from tests.sources.user_files import pairs, write

DEFAULTS = Settings(dev_ratio=0.05, test_ratio=0.05)
LOST = "pairs for training that preparing leaves out: held-out queries share their answers"

Asked = list[tuple[str, str]]


def divided(
    tmp_path: Path, asked: Asked, settings: Settings = DEFAULTS, seed: int = 42
) -> tuple[list[Pair], int | None]:
    """The pairs, and the lost ones that the report counts."""
    path = write(tmp_path / "a.jsonl", [{"query": query, "positive": answer} for query, answer in asked])
    found, report = pairs(path, settings, seed)
    assert [(pair.query, pair.positive) for pair in found] == asked
    return found, report.noted.get(LOST)


def kept(found: list[Pair]) -> tuple[int, int]:
    """How many of the train pairs preparing keeps, and leaves out."""
    counts = prepare([], found, mined_negatives=0).report["train_pairs"]
    return counts["kept"], counts["removed_document_held_out"] + counts["removed_query_held_out"]


def queries_by_split(found: list[Pair]) -> Counter[str]:
    return Counter({query_key(pair.query): pair.split for pair in found}.values())


@pytest.mark.parametrize("seed", range(3))
def test_answers_that_many_queries_share_cost_no_pair(tmp_path: Path, seed: int) -> None:
    asked = [(f"query {row}", f"answer {row % 400}") for row in range(20_000)]
    found, lost = divided(tmp_path, asked, seed=seed)
    train, removed = kept(found)
    assert (removed, lost) == (0, None)
    counts = queries_by_split(found)
    assert train == counts["train"]
    # Of 400 groups, five deviations.
    assert abs(counts["dev"] - 1000) < 1100
    assert abs(counts["test"] - 1000) < 1100
    assert 0.8 < train / 20_000 < 0.96


def test_shares_are_kept_over_many_groups(tmp_path: Path) -> None:
    found, _ = divided(tmp_path, [(f"query {row}", f"answer {row // 3}") for row in range(30_000)])
    counts = queries_by_split(found)
    # The standard deviation of 10,000 groups of three is 65.
    assert abs(counts["dev"] - 1500) < 325
    assert abs(counts["test"] - 1500) < 325


def test_what_is_joined_by_any_way_is_in_one_split(tmp_path: Path) -> None:
    """Chains: each query shares an answer with the next, in another spelling."""
    asked = []
    for chain in range(200):
        for link in range(5):
            query = f"Chain {chain}  Query {link}"
            asked += [(query, f"answer {chain} {link}"), (query.upper(), f"answer\u00a0{chain}  {link + 1}")]
    found, lost = divided(tmp_path, asked, Settings(dev_ratio=0.2, test_ratio=0.2))
    splits = defaultdict(set)
    for pair in found:
        splits[pair.query.split()[1]].add(pair.split)
    assert all(len(of) == 1 for of in splits.values())
    assert set.union(*splits.values()) == {"train", "dev", "test"}
    assert (kept(found)[1], lost) == (0, None)


def test_a_group_as_large_as_the_file_is_divided_by_its_answers_and_the_loss_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty queries an answer, and a tenth of them have a second answer: all hang together."""
    draw = random.Random(1)
    asked = [(f"query {row}", f"answer {row % 100}") for row in range(5000)]
    asked += [(f"query {row}", f"answer {draw.randrange(100)}") for row in draw.sample(range(5000), 500)]
    asked = list(dict.fromkeys(asked))
    with caplog.at_level(logging.WARNING):
        found, lost = divided(tmp_path, asked)
    train, removed = kept(found)
    assert lost == removed > 0
    assert train > 0.8 * len(asked)
    counts = queries_by_split(found)
    assert min(counts["dev"], counts["test"]) > 40
    assert "5000 of 5000 queries share answers in groups too large for dev or test" in caplog.text
    assert f"{lost} pairs for training are lost" in caplog.text
    assert "give the file a column `split`" in caplog.text
    # All pairs of a query are in one split.
    assert len({(pair.query, pair.split) for pair in found}) == 5000


def test_in_a_divided_group_dev_and_test_share_no_answer(tmp_path: Path) -> None:
    draw = random.Random(1)
    asked = [(f"query {row}", f"answer {answer}") for row in range(2000) for answer in draw.sample(range(100), 2)]
    found, lost = divided(tmp_path, asked, Settings(dev_ratio=0.3, test_ratio=0.3))
    report = prepare([], found, mined_negatives=0).report
    assert lost == report["train_pairs"]["removed_document_held_out"] > 0
    assert report["dev_pairs"]["kept"] == report["dev_pairs"]["given"] > 0
    assert report["test"]["queries"] > 0


def test_an_answer_of_too_many_queries_is_not_held_out(tmp_path: Path) -> None:
    asked = [(f"query {row}", "yes" if row < 700 else f"answer {row}") for row in range(1000)]
    for seed in range(10):
        found, lost = divided(tmp_path, asked, Settings(dev_ratio=0.3, test_ratio=0.3), seed=seed)
        assert {pair.split for pair in found if pair.positive == "yes"} == {"train"}
        assert (kept(found)[1], lost) == (0, 0)


def test_where_no_group_can_be_held_out_the_error_says_what_to_do(tmp_path: Path) -> None:
    asked = [(f"query {row}", f"answer {row % 4}") for row in range(1000)]
    with pytest.raises(
        RagcunError,
        match=r"has 1000 queries in 4 groups that share answers \(the largest has 250\), and none .* split dev: raise "
        r"data\.own_pairs\.dev_ratio and test_ratio, as no group larger .*, or give the file a column `split`",
    ):
        divided(tmp_path, asked)


def test_a_group_stays_in_its_split_while_no_row_joins_it(tmp_path: Path) -> None:
    before, _ = divided(tmp_path, [(f"query {row}", f"answer {row // 2}") for row in range(2000)])
    more = [(f"query {row}", f"answer {row // 2}") for row in range(4000)]
    after, _ = divided(tmp_path, [*more[::-1], ("query 0", "answer 999")])
    splits = {query_key(pair.query): pair.split for pair in after}
    moved = {pair.query for pair in before if splits[pair.query] != pair.split}
    assert moved <= {"query 0", "query 1", "query 1998", "query 1999"}
    assert len({pair.split for pair in before}) == 3


def test_pairs_are_drawn_alike_in_any_order_and_in_equal_spelling() -> None:
    asked = [(f"Query {row % 30}", f"answer {row % 47}") for row in range(60)]
    one, other = Draw(Settings(dev_ratio=0.3, test_ratio=0.3), 1), Draw(Settings(dev_ratio=0.3, test_ratio=0.3), 1)
    for query, answer in asked:
        one.add(query, answer)
    for query, answer in reversed(asked):
        other.add(f" {query.upper()}", answer.replace(" ", "\t"))
    assert one.division() == other.division()
