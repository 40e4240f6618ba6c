"""The forms in which documents and queries are compared."""

import pytest

from ragcun.data import text as texts


def test_the_normal_form_ignores_white_space_and_how_unicode_is_composed() -> None:
    composed, decomposed = "Café au\u00a0lait", "  Cafe\u0301\tau\n lait "
    assert texts.normal_form(composed) == texts.normal_form(decomposed) == "Café au lait"
    assert texts.normal_form("Tea") != texts.normal_form("tea")


def test_queries_that_ask_the_same_differ_in_case_alone() -> None:
    assert texts.query_key(" WHERE  is\nRome? ") == texts.query_key("where is rome?")
    # Case folding can leave a letter and its accent apart.
    assert texts.query_key("ǰ") == texts.query_key("J\u030c")


@pytest.mark.parametrize(
    ("title", "text", "keys"),
    [
        ("Rome", "Capital  of\nItaly", ("Rome Capital of Italy", "Capital of Italy")),
        ("", " Capital of Italy", ("Capital of Italy",)),
        ("Rome", " ", ("Rome",)),
    ],
)
def test_a_document_is_known_with_its_title_and_without(title: str, text: str, keys: tuple[str, ...]) -> None:
    assert texts.document_keys(title, text) == keys
