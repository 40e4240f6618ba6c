"""Stand-in queries are crops of drawn documents: the same every time, in the words' order, each beside its row."""

import random

import pytest

from ragcun.adapt.stand_ins import stand_in_queries, stand_in_rows


def documents(count: int, words: int = 40) -> list[str]:
    """Documents whose words are numbered, and so tell where a crop was taken."""
    return [" ".join(f"{row}.{place}" for place in range(words)) for row in range(count)]


def test_the_same_documents_give_the_same_stand_ins_whatever_else_is_random() -> None:
    random.seed(1)
    first = stand_in_queries(documents(1500))
    random.seed(2)
    assert stand_in_queries(documents(1500)) == first


def test_a_stand_in_is_a_run_of_five_to_ten_words_of_the_document_in_its_row() -> None:
    texts = documents(600)
    found = stand_in_queries(texts)
    lengths, starts, ends = set(), set(), set()
    for row, text in found:
        words, whole = text.split(), texts[row].split()
        start = whole.index(words[0])
        assert words == whole[start : start + len(words)]
        lengths.add(len(words))
        starts.add(start)
        ends.add(start + len(words))
    assert lengths == {5, 6, 7, 8, 9, 10}
    # From the first word to the last.
    assert min(starts) == 0
    assert max(ends) == len(whole)


@pytest.mark.parametrize("words", [1, 2, 4, 5])
def test_a_short_document_is_its_own_stand_in(words: int) -> None:
    texts = documents(20, words)
    assert [(row, text) for row, text in stand_in_queries(texts)] == list(enumerate(texts))


def test_white_space_is_one_space() -> None:
    assert [drawn.text for drawn in stand_in_queries([" a  river\n\tflows "])] == ["a river flows"]


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u3000"])
def test_a_document_without_words_keeps_its_row_with_an_empty_stand_in(text: str) -> None:
    """So that rows and vectors fit, whatever the texts."""
    found = stand_in_queries([text, "a river", text, "boat"])
    assert [(row, crop) for row, crop in found] == [(0, ""), (1, "a river"), (2, ""), (3, "boat")]


def test_no_documents_give_none() -> None:
    assert stand_in_queries([]) == []
    assert stand_in_rows(0).tolist() == []


@pytest.mark.parametrize("count", [999, 1000, 1001, 5000])
def test_there_are_a_thousand_at_most_each_of_another_document(count: int) -> None:
    rows = [drawn.row for drawn in stand_in_queries(documents(count, 12))]
    assert len(rows) == min(count, 1000)
    assert rows == sorted(set(rows))
    assert rows == stand_in_rows(count).tolist(), "the rows are known without the texts"
    assert all(0 <= row < count for row in rows)
    # They are drawn from the whole corpus.
    assert rows[-1] >= 0.95 * (count - 1)
