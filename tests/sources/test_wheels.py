"""A wheel is taken when its hash is the pinned one."""

import os
import sys
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.wheels import Wheel, downloaded, read_json
from tests.sources.conftest import MakeWheel


def test_json_is_read_in_the_order_asked_for(make_wheel: MakeWheel) -> None:
    one = make_wheel("one", {"d/a.json": b'{"a": 1}', "d/b.json": b'["b"]'})
    two = make_wheel("two", {"c.json": '["γ"]'.encode()})
    assert read_json([(one, "d/b.json"), (two, "c.json"), (one, "d/a.json")]) == [["b"], ["γ"], {"a": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', r"a\.json in the wheel bad==1\.0 is malformed JSON .*; name another"),
        (b"", r"a\.json in the wheel bad==1\.0 is malformed JSON"),
        (b'{"a": "\xff"}', r"a\.json in the wheel bad==1\.0 is malformed JSON"),
        (b"{}", r"a\.json in the wheel bad==1\.0 is empty; name another"),
        (b"[]", r"a\.json in the wheel bad==1\.0 is empty"),
    ],
)
def test_bad_json_is_an_error_that_names_wheel_and_file(make_wheel: MakeWheel, content: bytes, message: str) -> None:
    with pytest.raises(RagcunError, match=message):
        read_json([(make_wheel("bad", {"a.json": content}), "a.json")])


def test_a_file_the_wheel_lacks_is_named(make_wheel: MakeWheel) -> None:
    with pytest.raises(RagcunError, match=r"the wheel bad==1\.0 has no file b\.json"):
        read_json([(make_wheel("bad", {"a.json": b"[1]"}), "b.json")])


def test_several_hashes_may_be_pinned(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("one", {"a.json": b"[1]"})
    assert read_json([(Wheel("one", "1.0", ("0" * 64, *wheel.sha256)), "a.json")]) == [[1]]


def test_a_wheel_without_a_pinned_hash_is_refused(make_wheel: MakeWheel) -> None:
    make_wheel("one", {"a.json": b"[1]"})
    with pytest.raises(RagcunError, match=r"(?s)pip could not download one==1\.0.*Hashes are required"):
        read_json([(Wheel("one", "1.0", ()), "a.json")])


def test_a_missing_wheel_is_told_apart(wheelhouse: Path) -> None:
    with pytest.raises(
        RagcunError, match=r"the wheel nowhere==1\.0 is missing from the package index\. Set PIP_INDEX_URL"
    ):
        read_json([(Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])


def test_no_network_is_told_apart(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    # A port nobody listens at.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        RagcunError, match=r"(?s)nowhere==1\.0 cannot be downloaded: no network.*Check the connection.*pip said:"
    ):
        read_json([(Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])


def test_a_python_without_pip_and_other_failures_say_what_pip_said(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Wheel("nowhere", "1.0", ("0" * 64,))
    for message, expected in (
        (f"{sys.executable}: No module named pip", "this Python has no pip. Install it: python -m ensurepip"),
        ("ERROR: Could not install: No space left on device", "(?s)pip could not download .*No space left on device"),
    ):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(RagcunError, match=expected):
            read_json([(wheel, "a.json")])


def test_an_index_address_that_pip_shows_is_shown_without_its_secrets(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip itself hides a password in the address that it was given, but not in each error that passes through it."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho 'ERROR: 401 Error for url: https://me:s3cret@pypi.example/simple/a/?token=s3cret' >&2\nexit 1\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RagcunError, match=r"for url: https://pypi\.example/simple/a/$") as raised:
        read_json([(Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])
    assert "s3cret" not in str(raised.value)


def test_the_downloaded_wheels_go_away(make_wheel: MakeWheel) -> None:
    with downloaded(make_wheel("one", {"a": b"1"}), make_wheel("two", {"b": b"2"})) as paths:
        assert [path.name.split("-")[0] for path in paths] == ["one", "two"]
    assert not any(os.path.lexists(path) for path in paths)
