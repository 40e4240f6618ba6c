"""The user's own files are linked, so that what DVC hashes is what they hold; anything else is a note."""

from pathlib import Path

import pytest
import yaml

from ragcun.core.errors import RagcunError
from ragcun.sources.user_files.links import OUTPUTS, link_benchmark, link_file, link_model, user_model, user_path
from tests.sources.conftest import files_of, write_files

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("vital-descriptions", None),
        ("msmarco", None),
        ("pairs.jsonl", "pairs.jsonl"),
        ("../my/pairs", "../my/pairs"),
        ("/my/pairs.csv", "/my/pairs.csv"),
        ("~/pairs", "HOME/pairs"),
    ],
)
def test_a_name_has_neither_dot_nor_slash_and_a_path_has(
    value: str, path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "HOME")
    assert user_path(value) == (None if path is None else Path(path))


def test_a_model_is_a_folder_that_exists_or_looks_like_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maker" / "here").mkdir(parents=True)
    assert user_model("maker/model") is None
    assert user_model("pypi:x") is None
    assert user_model("maker/here") == Path("maker/here")
    assert user_model("./nowhere") == Path("./nowhere")
    # No name on the hub, also before it is there.
    assert user_model("models/smart_hybrid") == Path("models/smart_hybrid")


def test_links_lead_to_the_content_and_follow_its_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    outside = tmp_path / "mine.csv"
    inside = tmp_path / "project" / "own" / "mine.csv"
    inside.parent.mkdir()
    for file in (outside, inside):
        file.write_text("one")
        link_file(file, Path("data/own/pairs"), key="data.pairs")
        link = Path("data/own/pairs/mine.csv")
        assert [path.name for path in link.parent.iterdir()] == ["mine.csv"]
        file.write_text("two")
        assert link.is_symlink()
        assert link.read_text() == "two"
        # Only what lies in the project can be found from a clone of it.
        assert link.readlink().is_absolute() == (file == outside)


def test_a_benchmarks_and_a_models_files_are_linked_each(tmp_path: Path) -> None:
    benchmark = {"corpus.jsonl": b"c", "queries.jsonl": b"q", "qrels/test.tsv": b"t", "qrels/dev.tsv": b"d"}
    write_files(tmp_path / "bench", {**benchmark, "notes/private.txt": b"n"})
    link_benchmark(tmp_path / "bench", tmp_path / "out", key="data.local.mine")
    assert files_of(tmp_path / "out") == benchmark
    model = {"modules.json": b"[]", "1_Pooling/config.json": b"{}"}
    link_model(write_files(tmp_path / "model", model), tmp_path / "out")
    assert files_of(tmp_path / "out") == model


def test_without_a_file_of_the_users_a_note_lies_there(tmp_path: Path) -> None:
    link_file(None, tmp_path / "a", key="data.pairs")
    link_model(None, tmp_path / "b")
    link_benchmark(None, tmp_path / "c", key="data.validation")
    for folder, key in (("a", "data.pairs"), ("b", "base_model"), ("c", "data.validation")):
        assert (tmp_path / folder / "none.txt").read_text() == f"{key} names no file of yours\n"


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(RagcunError, match=r"data\.pairs names the file .*nowhere\.csv, which does not exist; correct"):
        link_file(tmp_path / "nowhere.csv", tmp_path / "out", key="data.pairs")
    with pytest.raises(RagcunError, match=r"data\.pairs names the file .*, which is no file; correct"):
        link_file(tmp_path, tmp_path / "out", key="data.pairs")
    assert not (tmp_path / "out").exists()


def test_a_missing_or_empty_folder_is_named_and_leaves_no_note_that_would_hide_it(tmp_path: Path) -> None:
    for found, words in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "has none of the files it should")):
        with pytest.raises(RagcunError, match=f"data.local.mine names the folder .*, which {words}"):
            link_benchmark(found, tmp_path / "out", key="data.local.mine")
    with pytest.raises(RagcunError, match=r"base_model names the folder .*, which does not exist; correct"):
        link_model(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_output_of_the_pipeline_is_known_as_one() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    outs = [out for stage in stages for out in stage.get("do", stage).get("outs", [])]
    paths = {next(iter(out)) if isinstance(out, dict) else out for out in outs} - {"${item.out}"}
    items = [item for stage in stages if isinstance(each := stage.get("foreach"), dict) for item in each.values()]
    paths |= {item["out"] for item in items if "out" in item}
    assert {"models/pretrain", "models/base", "data/own/${key}", "metrics/comparison.md"} <= paths
    assert not [path for path in paths if not any(Path(path).is_relative_to(output) for output in OUTPUTS)]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model among the outputs of the project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path / "models/smart_hybrid", {"modules.json": b"[]"})


@pytest.mark.parametrize(
    "spec",
    [
        "models/smart_hybrid",
        "./models/smart_hybrid",
        "models/../models/smart_hybrid/",
        "models/not_yet_there",
        "HERE/models/smart_hybrid",
        "linked",
        "linked_twice",
        "of_links",
    ],
)
def test_a_model_of_this_pipeline_is_no_base_by_whatever_path(spec: str, trained: Path, tmp_path: Path) -> None:
    """Each run would train on its own last result."""
    (tmp_path / "linked").symlink_to("models/smart_hybrid")
    (tmp_path / "linked_twice").symlink_to(tmp_path / "linked")
    (tmp_path / "of_links").mkdir()
    (tmp_path / "of_links/modules.json").symlink_to("../models/smart_hybrid/modules.json")
    path = user_model(spec.replace("HERE", str(tmp_path)))
    with pytest.raises(RagcunError, match=r"base_model .* an output of this pipeline \(models/\).*\(cp -RL .* my_"):
        link_model(path, Path("data/own/base_model"))
    assert not Path("data").exists()


def test_an_output_that_dvc_links_into_its_cache_is_still_an_output(trained: Path, tmp_path: Path) -> None:
    cached = write_files(tmp_path / ".dvc/cache", {"ab12": b"[]"}) / "ab12"
    (trained / "modules.json").unlink()
    (trained / "modules.json").symlink_to(cached)
    (tmp_path / "of_links").mkdir()
    (tmp_path / "of_links/modules.json").symlink_to(trained / "modules.json")
    for name in ("models/smart_hybrid", "of_links"):
        with pytest.raises(RagcunError, match="an output of this pipeline"):
            link_model(Path(name), Path("data/own/base_model"))


def test_a_copy_of_a_trained_model_is_a_base(trained: Path, tmp_path: Path) -> None:
    for folder in ("my_start", "data/mine", "models_of_mine/start", "elsewhere/models/smart_hybrid"):
        write_files(tmp_path / folder, {"modules.json": b"[]"})
        link_model(user_model(folder), Path("data/own/base_model"))
        assert files_of(Path("data/own/base_model")) == {"modules.json": b"[]"}


def test_pairs_and_benchmarks_among_the_outputs_are_refused_too(trained: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "data", {"raw/pairs/pairs.jsonl": b"{}", "benchmarks/mine/corpus.jsonl": b"{}"})
    with pytest.raises(
        RagcunError, match=r"data\.pairs names .*pairs\.jsonl, which leads to an output .*\(data/raw/\)"
    ):
        link_file(Path("data/raw/pairs/pairs.jsonl"), Path("data/own/pairs"), key="data.pairs")
    with pytest.raises(
        RagcunError, match=r"data\.local\.mine names .*mine, which leads to an output .*\(data/benchmarks/"
    ):
        link_benchmark(Path("data/benchmarks/mine"), Path("data/own/benchmarks/mine"), key="data.local.mine")
