"""Pairs from passages alone: each kind is what it says, passages keep to one split, nothing held out comes in."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.pairs import PreparedPairs, train_passage_digests, write_pairs
from ragcun.data.text import document_text
from ragcun.prepare.pretraining import make_pairs, pretraining_pairs
from ragcun.sources.records import Pair, Passage
from tests.preparing import prepare

PASSAGES = [
    Passage(
        f"p{row}", f"title{row}", f"one{row} two{row} three{row}. four{row} five{row}! six{row} seven{row} eight{row}."
    )
    for row in range(40)
]


class Many(Sequence[Passage]):
    """As many passages as told, made when asked for; every other has two sentences, and the others one."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Passage:  # type: ignore[override]
        return Passage(f"p{row}", f"title{row}", f"one{row} two{row}." + f" three{row} four{row}." * (row % 2))


def number(text: str) -> str:
    """Which passage a text is from: its words all carry the number."""
    (found,) = {"".join(filter(str.isdigit, word)) for word in text.split()}
    return found


def test_crops_are_two_spans_of_one_passage() -> None:
    pairs = make_pairs(PASSAGES, "crops", 200, seed=1)
    assert len(pairs) == 200
    for pair in pairs:
        body = f" {PASSAGES[int(number(pair.query))].text} "
        assert f" {pair.query} " in body
        assert f" {pair.positive} " in body
    assert sum(pair.query != pair.positive for pair in pairs) > 150
    assert {len(pair.query.split()) for pair in pairs} == {1, 2, 3, 4}


def test_a_crop_is_a_tenth_to_a_half_of_the_words_from_any_place() -> None:
    ten = [Passage(str(row), "", " ".join("abcdefghij")) for row in range(2)]
    drawn = Counter(text for pair in make_pairs(ten, "crops", 10_000, seed=1) for text in (pair.query, pair.positive))
    spans = {" ".join("abcdefghij"[start : start + length]) for length in range(1, 6) for start in range(11 - length)}
    assert drawn.keys() == spans
    # A crop of one word is an eighth of all, and each word a tenth of these; five deviations of 20,000 draws.
    assert all(abs(drawn[word] - 250) < 80 for word in "abcdefghij")


def test_an_inverse_cloze_query_is_a_sentence_and_asks_for_the_others() -> None:
    stays = 0
    for pair in make_pairs(PASSAGES, "inverse_cloze", 400, seed=1):
        body = PASSAGES[int(number(pair.query))].text
        assert pair.query[-1] in ".!"
        rest = " ".join(body.replace(pair.query, "").split())
        assert pair.positive in (rest, body)
        stays += pair.positive == body
    assert 0 < stays < 100


def test_title_and_body_make_one_pair_a_passage() -> None:
    pairs = make_pairs(PASSAGES, "title_body", 200, seed=1)
    assert sorted((pair.query, pair.positive) for pair in pairs) == sorted((p.title, p.text) for p in PASSAGES)


@pytest.mark.parametrize("kind", ["crops", "inverse_cloze", "title_body"])
def test_all_pairs_of_a_passage_are_in_one_split(kind: str) -> None:
    pairs = make_pairs(PASSAGES, kind, 200, seed=3)  # type: ignore[arg-type]
    rows = {split: {number(pair.query) for pair in pairs if pair.split == split} for split in ("train", "dev")}
    assert len(rows["dev"]) == 2
    assert len(rows["train"]) == 38
    assert not rows["dev"] & rows["train"]


@pytest.mark.parametrize("passages", [4_000, 20_000, 60_000, 200_000])
def test_the_dev_share_is_one_of_the_pairs_however_many_the_passages(passages: int) -> None:
    pairs = make_pairs(Many(passages), "crops", 5000, seed=1)
    counts = Counter(pair.split for pair in pairs)
    assert counts["dev"] == 250
    assert counts["train"] == 4750


@pytest.mark.parametrize("count", [2, 3, 40, 41, 43, 60, 79, 199])
def test_a_round_that_ends_early_takes_no_more_of_the_dev_passages(count: int) -> None:
    pairs = make_pairs(PASSAGES, "crops", count, seed=1)
    dev = sum(pair.split == "dev" for pair in pairs)
    assert len(pairs) == count
    assert 1 <= dev <= 0.05 * count + 1


def test_passages_are_taken_until_there_are_enough_pairs() -> None:
    """Half of the passages give no pair; the others give one each before any gives two."""
    pairs = make_pairs(Many(20_000), "inverse_cloze", 5000, seed=1)
    assert len(pairs) == 5000
    assert len({number(pair.query) for pair in pairs}) == 5000
    assert len(make_pairs(Many(100), "title_body", 60, seed=1)) == 60


def test_the_seed_decides_the_pairs() -> None:
    assert make_pairs(PASSAGES, "crops", 50, seed=1) == make_pairs(PASSAGES, "crops", 50, seed=1)
    assert make_pairs(PASSAGES, "crops", 50, seed=1) != make_pairs(PASSAGES, "crops", 50, seed=2)


def test_passages_that_make_no_pair_are_passed_over() -> None:
    odd = [Passage("a", "", "word"), Passage("b", "", "")]
    for kind in ("crops", "inverse_cloze", "title_body"):
        pairs = make_pairs(PASSAGES + odd, kind, 60, seed=1)  # type: ignore[arg-type]
        assert all(pair.query and pair.positive and pair.query != "word" for pair in pairs)
        for few in (odd, [*odd, PASSAGES[0]]):  # none that makes a pair, and one
            message = (
                f"pretrain.pairs: {kind} makes pairs from {len(few) - 2} of the {len(few)} passages .* choose another"
            )
            with pytest.raises(RagcunError, match=message):
                make_pairs(few, kind, 60, seed=1)  # type: ignore[arg-type]


def test_what_fine_tuning_keeps_out_is_kept_out_here(tmp_path: Path) -> None:
    """C8: the last ten passages are not among those that fine-tuning may train on."""
    documents = [document_text(passage.title, passage.text) for passage in PASSAGES]
    texts = pd.DataFrame({"text": documents[:35], "role": "passage", "split": ["train"] * 30 + ["dev"] * 5})
    none = pd.DataFrame({name: pd.Series(dtype=object) for name in ("query", "positive", "negatives")})
    write_pairs(tmp_path / "finetune", PreparedPairs(texts, none, none, {}))
    pairs = pretraining_pairs(train_passage_digests(tmp_path / "finetune"), PASSAGES, "crops", 300, seed=1)
    assert pairs.report["passages"] == 30
    assert {int(number(text)) for text in pairs.texts["text"]} == set(range(30))
    assert len(pairs.train) + len(pairs.dev) <= 300
    for frame, split in ((pairs.train, "train"), (pairs.dev, "dev")):
        assert len(frame) > 10
        assert (pairs.texts["split"].iloc[frame["positive"]] == split).all()
        assert (pairs.texts["role"].iloc[frame["query"]] == "query").all()
        same = [
            number(pairs.texts["text"][q]) == number(pairs.texts["text"][p])
            for q, p in frame[["query", "positive"]].to_numpy()
        ]
        assert all(same)
    assert set(pairs.train_passage_ids) == set(pairs.train["positive"])
    assert set(pairs.passage_ids) - set(pairs.train_passage_ids) == set(pairs.dev["positive"])
    assert pairs.texts.duplicated().sum() == 0


def test_a_passage_that_differs_in_white_space_alone_is_the_same_here_too(tmp_path: Path) -> None:
    wider = [Passage(p.id, p.title, p.text.replace(" ", "\n")) for p in PASSAGES]
    prepared = prepare(
        [*wider, *PASSAGES], [Pair("train", "q", "p"), Pair("dev", "r", PASSAGES[0].text)], mined_negatives=0
    )
    write_pairs(tmp_path / "finetune", prepared)
    allowed = train_passage_digests(tmp_path / "finetune")
    pairs = pretraining_pairs(allowed, [*PASSAGES, *wider], "title_body", 300, seed=1)
    assert pairs.report["passages"] == 39
    assert set(map(number, pairs.texts["text"])) == set(map(str, range(1, 40)))
    assert (pairs.texts["text"].map(number).value_counts() == 2).all()
