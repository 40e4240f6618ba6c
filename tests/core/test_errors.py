"""No message shows what an address holds in secret."""

import pytest

from ragcun.core.errors import LostProcessError, RagcunError, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/a.zip", "https://host/a.zip"),
        ("HTTP://secret@host:8080", "HTTP://host:8080"),
        ("from 'https://me:secret@host/a?token=secret', twice", "from 'https://host/a', twice"),
        ("(https://host/a#secret)", "(https://host/a)"),
        ("https://me:se@cret@host/a", "https://host/a"),
        # Characters that should be escaped in a password, and are not.
        ("https://me:se/secret?secret#secret@host/a", "https://host/a"),
        ("http://a:secret@b https://c:secret@d?x=secret", "http://b https://d"),
        ("retrying: /simple/x/?token=secret now", "retrying: /simple/x/ now"),
        (
            "Max retries exceeded with url: /a.zip?token=secret (Caused by X)",
            "Max retries exceeded with url: /a.zip (Caused by X)",
        ),
        ("git+ssh://git:secret@host/x.git@v1", "git+ssh://host/x.git@v1"),
    ],
)
def test_an_address_is_shown_without_user_password_and_query(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    for kind in (RagcunError, LostProcessError):
        assert str(kind(f"it failed: {text}")) == f"it failed: {shown}"


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a@v1/b",
        "maker/model@v9: is it right? see https://hub/maker/model@v9/commits.",
        "me@host is no address; why? see a/b?c",
        "write it as http(s)://HOST/PATH",
        "the file C:/a/b?, ./a/b#c, /home/me/c#/what?.jsonl or /what?",
        "http://[::1]:80/a@v1",
    ],
)
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert without_secrets(text) == text
