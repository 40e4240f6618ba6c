"""C8: nothing that held-out queries ask for is seen in training. And: texts once, negatives that are negatives."""

import random

import pandas as pd
import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.pairs import PreparedPairs
from ragcun.data.text import normal_form, query_key
from ragcun.sources.records import Pair, Passage
from tests.preparing import Forms, plain_prepare, prepare

# The documents' words overlap so that BM25 would mine the held-out ones first, were they there.
CATS = Passage("cats", "Cats", "small furry animals that purr")
DOGS = Passage("dogs", "Dogs", "furry animals that bark")
BEARS = Passage("bears", "Bears", "large furry animals that growl")
FOXES = Passage("foxes", "Foxes", "red furry animals that yelp")
ROCKS = Passage("rocks", "Rocks", "hard things")
PASSAGES = [CATS, DOGS, BEARS, FOXES, ROCKS]


def text(passage: Passage) -> str:
    return f"{passage.title} {passage.text}".strip()


def body(passage: Passage) -> str:
    return passage.text.strip()


def pair(split: str, query: str, positive: Passage, *negatives: Passage) -> Pair:
    return Pair(split, query, text(positive), tuple(map(text, negatives)))  # type: ignore[arg-type]


def rows(prepared: PreparedPairs, frame: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """The frame in texts."""
    texts = prepared.texts["text"].tolist()
    return [
        (texts[query], texts[positive], [texts[i] for i in negatives])
        for query, positive, negatives in frame.itertuples(index=False)
    ]


def seen_in_training(prepared: PreparedPairs) -> set[str]:
    """Every text that pretraining, fine-tuning, the negatives' store or the whitening statistics would see."""
    by_id = prepared.texts["text"]
    train = {row[0] for row in rows(prepared, prepared.train)}
    train |= {
        document for _, positive, negatives in rows(prepared, prepared.train) for document in (positive, *negatives)
    }
    return train | set(by_id[prepared.texts["split"] == "train"]) | set(by_id.iloc[prepared.train_passage_ids])


LEAKY = [
    pair("test", "what barks", DOGS),
    pair("dev", "what growls", BEARS),
    pair("train", "furry animals that purr", CATS, DOGS, BEARS, ROCKS),  # held-out documents as given negatives
    pair("train", "furry animals", DOGS),  # a test query's document as a positive
    pair("train", "furry animals", BEARS),  # a dev query's
    pair("train", "  What BARKS ", CATS),  # a test query, written otherwise
    pair("train", "WHAT growls", FOXES),  # a dev query
    pair("train", "furry animals that yelp", FOXES),
]


def test_no_held_out_document_or_query_is_seen_in_training() -> None:
    held_out = {text(DOGS), text(BEARS), "what barks", "what growls", "what BARKS", "What BARKS", "WHAT growls"}
    prepared = prepare(PASSAGES, LEAKY, mined_negatives=5)
    assert {text(CATS), text(FOXES), text(ROCKS), "furry animals that purr"} <= seen_in_training(prepared)
    assert not seen_in_training(prepared) & held_out
    assert prepared.report["train_pairs"] == {
        "given": 6,
        "removed_document_held_out": 2,
        "removed_query_held_out": 2,
        "duplicates": 0,
        "kept": 2,
    }
    assert prepared.report["negatives"]["removed_held_out"] == 2
    assert prepared.report["passages"]["removed_held_out"] == 2
    assert prepared.report["test"]["documents_found_in_training_and_removed"] == 1
    assert prepared.report["test"]["share_found_in_training_and_removed"] == 1.0


def test_dev_documents_are_there_for_dev_alone_and_test_documents_nowhere() -> None:
    prepared = prepare(PASSAGES, LEAKY, mined_negatives=5)
    passages = prepared.texts[prepared.texts["role"] == "passage"]
    assert passages["text"][passages["split"] == "dev"].tolist() == [text(BEARS)]
    assert text(DOGS) not in set(prepared.texts["text"])
    assert rows(prepared, prepared.dev) == [("what growls", text(BEARS), [])]


def test_dev_is_kept_apart_from_test_by_document_and_by_query() -> None:
    pairs = [
        pair("test", "what barks", DOGS),
        pair("dev", "dogs do what", DOGS),
        pair("dev", "What barks", CATS),
        pair("dev", "what growls", BEARS),
        pair("train", "hard", ROCKS),
    ]
    prepared = prepare(PASSAGES, pairs, mined_negatives=0)
    assert rows(prepared, prepared.dev) == [("what growls", text(BEARS), [])]
    # Cats answered a dev query, so they stay out of training although that pair was dropped.
    assert not {text(CATS), text(DOGS)} & seen_in_training(prepared)


def test_no_known_positive_is_a_negative() -> None:
    pairs = [
        pair("train", "furry animals", CATS, FOXES, ROCKS),
        pair("train", "Furry Animals ", FOXES),
        pair("train", "furry animals", DOGS),
        pair("dev", "what growls", BEARS),
    ]
    prepared = prepare(PASSAGES, pairs, mined_negatives=5)
    for _, positive, negatives in rows(prepared, prepared.train):
        assert positive in {text(CATS), text(FOXES), text(DOGS)}
        assert not set(negatives) & {text(CATS), text(FOXES), text(DOGS)}
    assert prepared.report["negatives"]["removed_known_positive"] == 1
    assert len(set(map(frozenset, prepared.known_positives.values()))) == 2


def test_given_negatives_come_first_then_the_best_that_bm25_finds() -> None:
    extra = Passage("", "", "purr purr purr furry")
    pairs = [pair("train", "furry that purr", CATS, ROCKS, ROCKS), pair("dev", "what growls", BEARS)]
    prepared = prepare([*PASSAGES, extra], pairs, mined_negatives=2)
    ((_, _, negatives),) = rows(prepared, prepared.train)
    assert negatives[:2] == [text(ROCKS), text(extra)]
    assert len(negatives) == 3
    assert negatives[2] in {text(DOGS), text(FOXES)}


def test_a_given_negative_is_not_mined_again_and_takes_the_place_of_none() -> None:
    # Foxes and cats rank first: one is given already, the other is the answer.
    pairs = [pair("train", "furry animals that purr and yelp", CATS, FOXES), pair("dev", "what growls", BEARS)]
    prepared = prepare(PASSAGES, pairs, mined_negatives=1)
    ((_, _, negatives),) = rows(prepared, prepared.train)
    assert negatives == [text(FOXES), text(DOGS)]


def test_a_passage_that_shares_no_word_with_the_query_is_not_mined() -> None:
    pairs = [pair("train", "hard", ROCKS), pair("train", "zebra", CATS), pair("dev", "what growls", BEARS)]
    prepared = prepare(PASSAGES, pairs, mined_negatives=4)
    assert [negatives for _, _, negatives in rows(prepared, prepared.train)] == [[], []]
    assert prepared.report["negatives"]["fewest_per_pair"] == 0


def test_no_negative_is_mined_where_none_is_wanted() -> None:
    prepared = prepare(PASSAGES, LEAKY, mined_negatives=0)
    assert [negatives for _, _, negatives in rows(prepared, prepared.train)] == [[text(ROCKS)], []]


def test_each_distinct_text_of_a_role_is_one_row_and_each_distinct_pair_another() -> None:
    pairs = [
        pair("train", "hard", ROCKS, CATS),
        pair("train", " hard ", ROCKS, DOGS),
        Pair("train", text(CATS), text(CATS)),
        pair("train", "soft", Passage("new", "", "not among the passages")),
        pair("dev", "what growls", BEARS),
    ]
    prepared = prepare([*PASSAGES, Passage("again", "Rocks", "hard things")], pairs, mined_negatives=0)
    assert not prepared.texts.duplicated(["role", "text"]).any()
    assert set(prepared.texts["role"][prepared.texts["text"] == text(CATS)]) == {"query", "passage"}
    assert rows(prepared, prepared.train) == [
        ("hard", text(ROCKS), [text(CATS), text(DOGS)]),
        (text(CATS), text(CATS), []),
        ("soft", "not among the passages", []),
    ]
    assert prepared.report["train_pairs"]["duplicates"] == 1


def test_train_passages_are_the_first_rows_in_the_order_they_came() -> None:
    prepared = prepare(PASSAGES, LEAKY, mined_negatives=1)
    assert prepared.texts["text"].tolist()[:3] == [text(CATS), text(FOXES), text(ROCKS)]
    assert prepared.train_passage_ids.tolist() == [0, 1, 2]
    again = prepare(PASSAGES, LEAKY, mined_negatives=1)
    pd.testing.assert_frame_equal(prepared.texts, again.texts)
    assert rows(prepared, prepared.train) == rows(again, again.train)


TITLED = [Passage(str(row), f"Title{row}", f"common body number{row}") for row in range(40)]
# A pair's answer is the body, and the passage has a title before it.
BODIES = [Pair(("train", "dev", "test")[row % 3], f"common {row}", body(TITLED[row])) for row in range(30)]  # type: ignore[arg-type]


def test_held_out_answers_without_their_titles_leave_training() -> None:
    held_out = {f(passage) for passage in TITLED[:30] for f in (text, body) if int(passage.id) % 3}
    pairs = [
        *BODIES,
        pair("train", "with title", TITLED[1]),  # the document of a dev query
        Pair("train", "with such negatives", "else", (text(TITLED[2]), body(TITLED[4]), text(TITLED[30]))),
    ]
    prepared = prepare(TITLED, pairs, mined_negatives=8)
    assert not seen_in_training(prepared) & held_out
    assert prepared.report["passages"]["removed_held_out"] == 20
    assert prepared.report["train_pairs"]["removed_document_held_out"] == 1
    assert prepared.report["negatives"]["removed_held_out"] == 2
    assert prepared.report["test"]["documents_found_in_training_and_removed"] == 10


def test_held_out_answers_with_their_titles_leave_training_without_them_too() -> None:
    pairs = [pair("dev", "what barks", DOGS), Pair("train", "barks", body(DOGS)), pair("train", "purrs", CATS)]
    prepared = prepare([*PASSAGES, Passage("", "", body(DOGS))], pairs, mined_negatives=8)
    assert not seen_in_training(prepared) & {text(DOGS), body(DOGS)}
    # Of a body that several titles share, one title is not the other's document; the body alone is that of both.
    twins = [Passage("", title, "a box of steel") for title in ("Red", "Blue", "Green")]
    prepared = prepare(twins, [pair("dev", "q", twins[0]), pair("train", "r", twins[1])], mined_negatives=8)
    assert prepared.texts["text"].tolist() == [
        "Blue a box of steel",
        "Green a box of steel",
        "Red a box of steel",
        "r",
        "q",
    ]
    prepared = prepare(
        [*twins, CATS], [Pair("dev", "q", "a box of steel"), pair("train", "r", CATS)], mined_negatives=8
    )
    assert seen_in_training(prepared) == {text(CATS), "r"}


def test_a_pairs_own_answer_is_no_negative_where_its_passage_has_a_title() -> None:
    pairs = [Pair("train", "common number0", body(TITLED[0]), (text(TITLED[0]),)), pair("dev", "what growls", BEARS)]
    prepared = prepare(TITLED, pairs, mined_negatives=3)
    ((query, positive, negatives),) = rows(prepared, prepared.train)
    assert positive == body(TITLED[0])
    assert negatives == [text(passage) for passage in TITLED[1:4]]
    assert prepared.report["negatives"]["removed_known_positive"] == 1
    by_text = {t: i for i, t in enumerate(prepared.texts["text"])}
    both = frozenset({by_text[body(TITLED[0])], by_text[text(TITLED[0])]})
    assert prepared.known_positives[by_text[query]] == both


def test_a_given_negative_is_not_mined_again_where_its_passage_has_a_title() -> None:
    pairs = [Pair("train", "common number3", body(TITLED[0]), (body(TITLED[3]),)), pair("dev", "what growls", BEARS)]
    prepared = prepare(TITLED, pairs, mined_negatives=2)
    ((_, _, negatives),) = rows(prepared, prepared.train)
    assert negatives == [body(TITLED[3]), text(TITLED[1]), text(TITLED[2])]


def test_white_space_and_composition_make_no_other_document() -> None:
    cafe, again = Passage("c", "Café", "a small\nplace "), Passage("d", "Cafe\u0301", "a  small place")
    pairs = [
        Pair("train", "where", "Café a small place", ("hard  things", "hard things")),
        Pair("train", " where\n", "Cafe\u0301 a\u00a0small place"),
        Pair("train", "which", "Dogs  furry animals that\tbark"),
        Pair("dev", "what barks", text(DOGS)),
    ]
    prepared = prepare([cafe, again, *PASSAGES], pairs, mined_negatives=0)
    assert rows(prepared, prepared.train) == [("where", text(cafe), ["hard  things"])]
    assert prepared.report["train_pairs"]["duplicates"] == 1
    assert prepared.report["train_pairs"]["removed_document_held_out"] == 1
    assert prepared.texts["text"].tolist()[:2] == [text(cafe), text(CATS)]


@pytest.mark.parametrize("seed", range(40))
def test_digests_decide_what_the_texts_themselves_would(seed: int) -> None:
    """Few words, so that queries, documents and negatives collide in every way."""
    draw = random.Random(seed)

    def words() -> str:
        space = draw.choice([" ", " ", "\n", "\u00a0 "])
        return draw.choice(["", " "]) + space.join(
            draw.choices(["a", "b", "C", "ß", "ö", "o\u0308"], k=draw.choice([1, 2]))
        )

    passages = [Passage("", draw.choice(["", "T", "a"]), words()) for _ in range(12)]
    pairs = [
        Pair(
            draw.choices(("train", "dev", "test"), (8, 1, 1))[0],  # type: ignore[arg-type]
            draw.choice([str.upper, str.lower])(words()),
            words() if draw.random() < 0.7 else draw.choice([text, body])(draw.choice(passages)),
            tuple(draw.choice([words(), text(draw.choice(passages))]) for _ in range(draw.randrange(4))),
        )
        for _ in range(40)
    ]
    pairs += [Pair("train", "only train", "t", ("n", "n ")), Pair("dev", "only dev", "d")]
    plain = plain_prepare(passages, pairs)
    prepared = prepare(passages, pairs, mined_negatives=0)
    assert list(prepared.texts.itertuples(index=False, name=None)) == plain.texts
    assert rows(prepared, prepared.train) == [(row.query, row.positive, row.negatives) for row in plain.train]
    assert rows(prepared, prepared.dev) == [(row.query, row.positive, []) for row in plain.dev]
    forms, table = Forms(passages), prepared.texts[prepared.texts["role"] == "passage"]
    asked = pd.concat([prepared.train, prepared.dev])
    for query, known in prepared.known_positives.items():
        key = query_key(prepared.texts["text"][query])
        same_query = asked["query"].map(lambda i: query_key(prepared.texts["text"][i])) == key
        answers = forms.of(prepared.texts["text"].iloc[asked["positive"][same_query]])
        assert known == set(table.index[table["text"].map(normal_form).isin(answers)])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([pair("dev", "what growls", BEARS)], "there is no train pair: the source has none; choose"),
        ([pair("train", "hard", ROCKS)], "there is no dev pair: the source has none; choose"),
        ([pair("train", "x", BEARS), pair("dev", "y", BEARS)], "there is no train pair: all of them touch .* held-out"),
        (
            [pair("train", "hard", ROCKS), pair("dev", "y", BEARS), pair("test", "z", BEARS)],
            "there is no dev pair: all of them touch .* held-out",
        ),
    ],
)
def test_pairs_that_cannot_train_or_select_are_an_error(pairs: list[Pair], message: str) -> None:
    with pytest.raises(RagcunError, match=message):
        prepare(PASSAGES, pairs, mined_negatives=1)
