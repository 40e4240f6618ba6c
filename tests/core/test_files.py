"""A file or folder is whole or absent, whatever happens while it is written."""

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ragcun.core.files import JsonValues, atomic_file, atomic_folder, sha256_file, write_json


def test_a_file_appears_only_when_its_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_whose_writing_fails_keeps_its_old_content_and_leaves_no_remains(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_old_one_with_nothing_of_it_left(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "stale").touch()
    with atomic_folder(folder) as partial:
        (partial / "fresh").touch()
        assert (folder / "stale").exists()
    assert [path.name for path in folder.iterdir()] == ["fresh"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_whose_writing_fails_is_not_published(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "out") as partial:
            (partial / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_what_is_published_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "a") as partial:
            partial.touch()
        with atomic_folder(tmp_path / "b") as partial:
            (partial / "own").touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "b/own").stat().st_mode & 0o777 == 0o640


def test_json_keeps_letters_as_they_are_and_ends_in_a_line_break(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"γ": 0.5})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "γ": 0.5\n}\n'


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, example B.1.
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
def test_an_error_without_a_path_gets_that_of_what_was_written(make: Callable, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk") as caught, make(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "the disk is full")
    assert caught.value.filename == str(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_json_values_come_in_any_order(tmp_path: Path) -> None:
    values = [["a", "b"], [], ["naïve\0\n", "\ud800"], {"x": None}, "text", 5]
    lines = [json.dumps(value).encode("ascii") for value in values]
    (tmp_path / "file").write_bytes(b"".join(lines))
    with (tmp_path / "file").open("rb") as file:
        read = JsonValues(file, [0, *itertools.accumulate(map(len, lines))])
        assert len(read) == len(values)
        for number in (5, 0, 2, 1, 3, 4, 2):
            assert read[number] == values[number]
        for number in (-1, len(values)):
            with pytest.raises(IndexError):
                read[number]
