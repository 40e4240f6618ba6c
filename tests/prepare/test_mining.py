"""Mined negatives: what BM25 ranks first, less what is known or there already, in memory that does not multiply."""

import random
import tracemalloc

import numpy as np
import pytest

from ragcun.prepare.mining import mine
from ragcun.search.bm25 import BM25Index


def plain_mine(
    passages: list[str], queries: list[str], known: list[set[int]], asked: list[int], struck: list[set[int]], count: int
) -> list[list[int]]:
    """From the whole ranking of every query."""
    ranked = BM25Index(passages).ranked(queries, [len(passages)] * len(queries))
    found = [rows.tolist() for rows, _ in ranked]
    return [
        [row for row in found[query] if row not in known[query] | ids][:count]
        for query, ids in zip(asked, struck, strict=True)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_what_is_mined_is_the_head_of_the_whole_ranking(seed: int) -> None:
    draw = random.Random(seed)
    words = [f"word{i}" for i in range(8)]
    passages = [" ".join(draw.choices(words, k=draw.randrange(1, 6))) for _ in range(60)]
    queries = [" ".join(draw.choices([*words, "unknown"], k=2)) for _ in range(15)]
    known = [set(draw.sample(range(60), draw.choice([0, 1, 5, 40]))) for _ in queries]
    asked = [draw.randrange(15) for _ in range(40)]
    struck = [set(draw.sample(range(60), draw.choice([0, 0, 2, 30]))) for _ in asked]
    mined = mine(passages, queries, known, np.array(asked), struck, 4)
    assert [ids.tolist() for ids in mined] == plain_mine(passages, queries, known, asked, struck, 4)
    assert max(len(ids) for ids in mined) == 4


# The shorter a passage, the better it ranks: 0, 1, 2 and so on.
RANKED = ["apple" + " pie" * length for length in range(12)]


def test_known_answers_that_rank_first_take_the_place_of_no_negative() -> None:
    (mined,) = mine(RANKED, ["apple"], [{0, 1, 2, 3, 4}], np.array([0]), [set()], 3)
    assert mined.tolist() == [5, 6, 7]


def test_negatives_that_a_row_has_take_the_place_of_no_other() -> None:
    mined = mine(RANKED, ["apple", "apple"], [set(), {0}], np.array([0, 0, 1]), [{0, 1, 2, 3}, set(), {1, 2}], 3)
    assert [ids.tolist() for ids in mined] == [[4, 5, 6], [0, 1, 2], [3, 4, 5]]


def test_a_query_of_many_answers_costs_the_others_nothing() -> None:
    """As deep as the first query needs, all together would be 2,000 × 2,000 rows and scores: 48 MB."""
    count = 2000
    passages = [f"apple number{row}" for row in range(count)]
    queries = ["apple", *(f"apple number{row}" for row in range(1, count))]
    known = [set(range(count)), *({row} for row in range(1, count))]
    tracemalloc.start()
    try:
        mined = mine(passages, queries, known, np.arange(count), [()] * count, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(ids) for ids in mined] == [0] + [4] * (count - 1)
    assert peak < 20e6
