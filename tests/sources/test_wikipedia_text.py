"""Markup goes, prose stays, passages end with sentences, and no text takes more than its share of time."""

import time
import unicodedata

import pytest

from ragcun.sources.wikipedia_text import clean_article, cut_passages

# A line long enough to be prose.
PROSE = "The town lies on the river and has had a bridge since the year of its founding."


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        ("{{Infobox|name={{lang|en|x}}}}", ""),
        ("<ref name=a>Book, p. 3</ref>", ""),
        ("<ref name='a' />", ""),
        ("<!-- hidden -->", ""),
        ("[[File:a.jpg|thumb|A [[river]] view]]", ""),
        ("[[Category:Towns]]", ""),
        ("[1]", ""),
        ("[12, 13]", ""),
        ("[a]", ""),
        ("[note 2]", ""),
        ("[citation needed]", ""),
        ("[who?]", ""),
        ("[[bridge]]", "bridge"),
        ("[[Bridge (river)|bridge]]", "bridge"),
        ("[https://example.org the site]", "the site"),
        ("[https://example.org]", ""),
        ("'''bold''' and ''italic''", "bold and italic"),
        ("<small>little</small>", "little"),
        ("<math>x^2</math>", ""),
        ("__NOTOC__", ""),
        ("a (; , ) b", "a b"),
        ("a (; born 1900) b", "a (born 1900) b"),
        ("[t]he", "[t]he"),
        ("a < b and c > d", "a < b and c > d"),
        ("no\u00a0break  and\tspaces\u200b", "no break and spaces"),
        ("cafe\u0301", "caf\u00e9"),
        ("unclosed {{ and [[ and }} and ]]", "unclosed"),
    ],
)
def test_markup_inside_prose(markup: str, prose: str) -> None:
    expected = " ".join(f"{PROSE} {prose} {PROSE}".split())
    found = " ".join(clean_article(f"{PROSE} {markup} {PROSE}").split())
    if markup.startswith("unclosed"):
        # Between the first opening and the last closing sign is what cannot be told from a template.
        assert found.startswith(f"{PROSE} unclosed")
        assert found.endswith(PROSE)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "line",
    [
        "== History ==",
        "History",
        "Category:Towns on the river, of which there are many. And more.",
        "Kategorie:Orte am Fluss, von denen es viele gibt. Und mehr.",
        "| 1900 || 3,000 people. And a long row of a table it is.",
        "! Year !! People. And a long head of a table it is.",
        "thumb|left|200px|A view of the town from the river. It is old.",
        "{| class=wikitable\n|-\n| 1900 || 3000\n|}",
        "* A bridge",
        "",
    ],
)
def test_lines_that_are_no_prose_go(line: str) -> None:
    assert clean_article(f"{PROSE}\n\n{line}\n\n{PROSE}") == f"{PROSE}\n{PROSE}"


def test_items_of_a_list_that_are_prose_lose_their_sign() -> None:
    assert clean_article(f"* {PROSE}\n# {PROSE}") == f"{PROSE}\n{PROSE}"


@pytest.mark.parametrize(
    "heading", ["See also", "References", "== External links ==", "EINZELNACHWEISE", "関連項目", "مراجع", "सन्दर्भ"]
)
def test_the_tail_of_an_article_goes(heading: str) -> None:
    assert clean_article(f"{PROSE}\n\n{heading}\n\n{PROSE}\n{PROSE}") == PROSE
    # In a sentence the word is a word.
    assert clean_article(f"{heading} is {PROSE}".replace("=", "")) != ""


TEXTS = {
    "english": "The river is old. It was known to Dr. A. Smith in 1900! Was it? He said: “It was.” So it is. ",
    "chinese": "东京是日本的首都。它位于本州岛！人口很多吗？是的，人口很多。",
    "japanese": "東京は日本の首都である。「人口が多い。」と言われる。",
    "arabic": "القاهرة هي عاصمة مصر. هل تقع على النيل؟ نعم، تقع على نهر النيل. ",
    "urdu": "لاہور پاکستان کا شہر ہے۔ یہ پرانا ہے۔ ",
    "hindi": "दिल्ली भारत की राजधानी है। यह यमुना के किनारे है। ",
    "thai": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย และเป็นเมืองที่ใหญ่ที่สุด ",
}


@pytest.mark.parametrize("language", TEXTS)
def test_passages_hold_the_whole_text_within_the_bounds_and_end_with_sentences(language: str) -> None:
    text = clean_article(TEXTS[language] * 40)
    passages = list(cut_passages(text, min_length=40, max_length=150))
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert all(40 <= len(passage) <= 150 for passage in passages[:-1])
    assert len(passages[-1]) <= 150
    if language != "thai":
        assert all(
            passage.endswith((".", "!", "?", "”", "。", "！", "？", "」", "؟", "۔", "।")) for passage in passages
        )
        assert not any(passage.endswith(("Dr.", "A.")) for passage in passages)


@pytest.mark.parametrize(
    ("text", "passages"),
    [
        ("word " * 50, ["word " * 19 + "word", "word " * 19 + "word", "word " * 9 + "word"]),
        ("x" * 250, ["x" * 100, "x" * 100, "x" * 50]),
        ("Short. " + "y" * 150, ["Short. " + "y" * 93, "y" * 57]),
        ("", []),
        (" \n ", []),
    ],
)
def test_without_sentences_passages_end_with_words_and_without_words_at_the_length(
    text: str, passages: list[str]
) -> None:
    assert list(cut_passages(text, min_length=20, max_length=100)) == [passage.strip() for passage in passages]


@pytest.mark.parametrize(
    "piece",
    [
        *("{{", "}}", "{{a}}", "[[", "]]", "[[a", "b]]", "[[a|", "{|", "|}", "<ref", "<ref>", "</ref>", "<!--", "-->"),
        *(
            "[",
            "[1,",
            "[1",
            "[a",
            "[https://a",
            "(",
            "( ",
            "( ;",
            "'",
            "=",
            "==a==\n",
            "\n",
            "* ",
            " ",
            ".",
            ". ",
            "a. ",
        ),
        *(
            "x",
            "\x00",
            "\ud800",
            "\u0316\u0301",
            "a\u0301",
            "東",
            "。",
            "א",
            "<a ",
            "<b =",
            "https://",
            "__A",
            "File:",
            "px|",
        ),
    ],
)
def test_no_text_takes_more_than_its_share_of_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    start = time.perf_counter()
    for _ in cut_passages(clean_article(text), min_length=200, max_length=2000):
        pass
    # It takes a tenth of a second; what took the square of so many characters would take hours.
    assert time.perf_counter() - start < 10


def test_normalizing_word_by_word_is_normalizing() -> None:
    text = " ".join(TEXTS.values()) + unicodedata.normalize("NFD", "Ünïcödé Việt Nam 한국어 が")
    (line,) = clean_article(text).split("\n")
    assert unicodedata.is_normalized("NFC", line)
    assert "Việt Nam 한국어 が" in line
