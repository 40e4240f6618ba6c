"""What is unpacked is what the archive holds, inside the target; and an error leaves the target as it was."""

import errno
import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch import archives
from ragcun.fetch.archives import extract_zip

pytestmark = pytest.mark.sources

FILES = {"corpus.jsonl": b"a corpus\n" * 1000, "qrels/test.tsv": b"q\td\t1\n", "empty": b""}


def make_zip(path: Path, files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def under(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_below_the_folder_are_unpacked_and_no_others(tmp_path: Path) -> None:
    files = {f"set/{name}": content for name, content in FILES.items()}
    archive = make_zip(tmp_path / "a.zip", {**files, "set/": b"", "set/sub/": b"", "settled/x": b"", "../y": b"no"})
    extract_zip(archive, tmp_path / "target", folder="set", origin="a.zip")
    assert under(tmp_path / "target") == FILES
    assert set(under(tmp_path)) == {"a.zip", *(f"target/{name}" for name in FILES)}
    assert not any(path.stat().st_mode & stat.S_IXUSR for path in (tmp_path / "target").rglob("*") if path.is_file())


def test_only_what_is_wanted_is_unpacked_and_counted(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"set/{name}": content for name, content in FILES.items()})
    extract_zip(
        archive, tmp_path / "t", folder="set", origin="a.zip", wanted=lambda name: name.suffix == ".tsv", max_bytes=10
    )
    assert under(tmp_path / "t") == {"qrels/test.tsv": FILES["qrels/test.tsv"]}


REFUSED: dict[str, tuple[list[tuple[str | zipfile.ZipInfo, bytes]], str]] = {
    "climbs": ([("set/../../out", b"x")], r"the unsafe name or link 'set/\.\./\.\./out'"),
    "climbs in the middle": ([("set/sub/../../../out", b"x")], r"the unsafe name or link 'set/sub/\.\./\.\./\.\./out'"),
    "climbs in the middle and stays inside": ([("set/sub/../b", b"x")], r"the unsafe name or link 'set/sub/\.\./b'"),
    "climbs as a folder": ([("set/../../out/", b"")], "unsafe name"),
    "absolute": ([("set//etc/out", b"x")], "unsafe name"),
    "backslash": ([("set/..\\out", b"x")], "unsafe name"),
    "drive": ([("set/C:/out", b"x")], "unsafe name"),
    "symbolic link": ([(special("set/link", stat.S_IFLNK), b"/etc/passwd")], "unsafe name or link 'set/link'"),
    "named pipe": ([(special("set/pipe", stat.S_IFIFO), b"")], "unsafe name or link 'set/pipe'"),
    "twice": ([("set/b", b"1"), ("set/./b", b"2")], r"the name 'set/\./b' twice"),
    "below a file": ([("set/b", b"1"), ("set/b/c", b"2")], "'set/b/c' below a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_unsafe_is_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    bad, message = REFUSED[case]
    archive = make_zip(tmp_path / "a.zip", [("set/good", b"x"), *bad])
    before = under(tmp_path)
    (tmp_path / "deep" / "target").mkdir(parents=True)
    with pytest.raises(RagcunError, match=rf"set of a mirror: the archive holds .*{message}.*; it is not used"):
        extract_zip(archive, tmp_path / "deep" / "target", folder="set", origin="set of a mirror")
    assert under(tmp_path) == before
    assert list((tmp_path / "deep" / "target").iterdir()) == []


def replaced(archive: Path, change: Callable[[bytes], bytes]) -> Path:
    before = archive.read_bytes()
    archive.write_bytes(change(before))
    assert archive.read_bytes() != before, "nothing was changed, so nothing is proved"
    return archive


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"set/good#out": b"x"})
    replaced(archive, lambda content: content.replace(b"good#out", b"good\0out"))
    with pytest.raises(RagcunError, match=r"unsafe name or link 'set/good\\x00out'"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip")


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"set/a": b"x"})
    # The flags stand 8 bytes into the central header.
    replaced(archive, lambda content: (at := content.index(b"PK\1\2") + 8) and content[:at] + b"\1" + content[at + 1 :])
    with pytest.raises(RagcunError, match=r"a\.zip: 'set/a' in the archive is encrypted; it is not used"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip")


def test_the_unpacked_size_is_bounded_as_declared_and_as_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(len, FILES.values()))
    archive = make_zip(tmp_path / "a.zip", {f"set/{name}": content for name, content in FILES.items()})
    extract_zip(archive, tmp_path / "fits", folder="set", origin="a.zip", max_bytes=size)
    with pytest.raises(RagcunError, match=rf"unpacks to more than {size - 1} bytes"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip", max_bytes=size - 1)
    # A reader that hands out more than the archive declares.
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda file, info: (tmp_path / "large").open("rb"))
    (tmp_path / "large").write_bytes(bytes(2 * size))
    monkeypatch.setattr(archives, "_CHUNK", 100)
    with pytest.raises(RagcunError, match=rf"unpacks to more than {size} bytes"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip", max_bytes=size)
    assert under(tmp_path / "t") == {}


def test_a_size_that_the_archive_understates_is_never_exceeded(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/a.json", b"x" * 100_000)
    content = archive.read_bytes()
    size = (100_000).to_bytes(4, "little")
    assert content.count(size) == 2, "the local and the central header hold the size, else nothing is understated"
    archive.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(RagcunError, match="the archive is damaged"):
        extract_zip(archive, tmp_path / "target", folder="m", origin="a.zip")
    assert sum(map(len, under(tmp_path / "target").values())) <= 10


def test_a_folder_the_archive_lacks_and_a_file_that_is_no_zip_are_named(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"other/a": b"x"})
    with pytest.raises(RagcunError, match=r"a\.zip: the archive has no folder set;"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip")
    archive.write_bytes(b"<html>please log in</html>")
    with pytest.raises(RagcunError, match=r"a\.zip: the archive is damaged \(File is not a zip file\); run again"):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {f"set/{name}": content for name, content in FILES.items()})
    monkeypatch.setattr(archives, "_CHUNK", 1000)
    write_all = archives._unpack

    def unpack_then_fill(*args: object) -> None:
        write_all(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_unpack", unpack_then_fill)
    with pytest.raises(
        RagcunError, match=rf"cannot be unpacked into {tmp_path / 't'} \(No space left on device\); make"
    ):
        extract_zip(archive, tmp_path / "t", folder="set", origin="a.zip")
    assert list((tmp_path / "t").iterdir()) == []


def test_an_archive_damaged_anywhere_gives_its_files_or_an_error_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(0)
    files = {
        f"set/{number}/{name}": rng.randbytes(300) + content for number in range(3) for name, content in FILES.items()
    }
    whole = make_zip(tmp_path / "whole.zip", files).read_bytes()
    refused = 0
    for number in range(400):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 3, 30))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        (tmp_path / "a.zip").write_bytes(content)
        target = tmp_path / f"t{number}"
        try:
            extract_zip(tmp_path / "a.zip", target, folder="set", origin="a.zip", max_bytes=10**6)
        except RagcunError:
            refused += 1
            assert list(target.iterdir()) == []
        else:
            # A damaged name is another name: only the contents are held to their checksums.
            assert set(under(target).values()) <= set(files.values())
    assert 200 < refused < 400, "both ends must occur"
