"""A user's file is found, or the error says what is there instead; and it is named by its hash."""

import os
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files import file as user_file
from ragcun.sources.user_files.pairs import UserPairs
from tests.sources.user_files import ROWS, SETTINGS, TEXT_SUFFIXES, pairs, write


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere.csv",
            r"data\.pairs names nowhere\.csv, which does not exist in /.*; correct the path",
        ),
        ("folder", r"data\.pairs names folder, which is a folder; name a file \(\.jsonl, .*\.parquet\) in it"),
        ("folder.csv", r"names folder\.csv, which is a folder"),
        ("a.json", r"names a\.json, which is none of \.jsonl, \.csv, \.tsv, \.parquet; save it as one of these"),
        ("a", r"names a, which is none of"),
        ("a.csv.gz", r"names a\.csv\.gz, which is none of"),
        ("empty.csv", r"data\.pairs names empty\.csv, which is empty; fill it, or name another file"),
        ("pipe.csv", r"names pipe\.csv, which is no regular file"),
        ("x" * 300 + ".csv", r"names 'x{60}'?…?: .*File name too long.*; correct the path"),
        ("nul\0.csv", r"names nul\0\.csv, which does not exist"),
        ("~nobody-of-this-name/a.csv", r"names '~nobody.*home directory.*; correct the path"),
        ("broken.csv", r"names broken\.csv, which does not exist"),
    ],
)
def test_a_path_that_is_no_file_of_pairs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "folder.csv"):
        Path(folder).mkdir()
    for file in ("a.json", "a", "a.csv.gz"):
        Path(file).write_text("text")
    Path("empty.csv").touch()
    os.mkfifo("pipe.csv")
    Path("broken.csv").symlink_to("gone")
    with pytest.raises(RagcunError, match=message):
        pairs(Path(name))


def test_a_path_may_begin_at_home_or_at_the_projects_folder_and_end_in_capitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", ROWS).rename(tmp_path / "a.JSONL")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert pairs(Path("~/a.JSONL"))[0] == pairs(Path("a.JSONL"))[0] == pairs(tmp_path / "a.JSONL")[0] != []


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(user_file, "sha256_file", refuse)
    with pytest.raises(RagcunError, match=r"a\.jsonl cannot be read \(Permission denied\); check its permissions"):
        pairs(write(tmp_path / "a.jsonl", ROWS))


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".parquet"])
def test_the_revision_is_the_files_hash(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", ROWS)
    assert pairs(path)[1].revision == f"sha256 {user_file.sha256_file(path)}"


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    found = UserPairs(path, SETTINGS, 1).pairs(SourceReport("test"))
    next(found)
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(RagcunError, match="was changed while it was read; run again when it is finished"):
        list(found)
