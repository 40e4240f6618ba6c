"""What a removed benchmark or model left behind is moved out of the folders that the comparison depends on."""

import sys
from pathlib import Path

import pytest
import yaml

from ragcun.report.leftovers import set_leftovers_aside

ROOT = Path(__file__).parents[2]
MODELS, BENCHMARKS = ("bm25", "base"), ("kept", "kept-too")


def write(folder: Path, *paths: str, text: str = "x") -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def results(models: tuple[str, ...], benchmarks: tuple[str, ...]) -> list[str]:
    return [
        *(f"data/benchmarks/{name}/corpus.jsonl" for name in benchmarks),
        *(f"data/runs/{model}/{name}/test.parquet" for model in models for name in benchmarks),
        *(f"metrics/{model}/{name}.json" for model in models for name in benchmarks),
    ]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, *results(MODELS, BENCHMARKS), "data/embeddings/gone/texts.npy", "metrics/comparison.csv")
    return tmp_path


def test_what_is_named_stays(there: Path) -> None:
    before = files(there)
    set_leftovers_aside(MODELS, BENCHMARKS)
    assert files(there) == before


def test_what_is_not_named_moves_and_keeps_its_path(there: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A benchmark's folders, a model's, and what a killed process left half written."""
    before = files(there)
    left = [
        *results(MODELS, ("gone",)),
        "data/runs/old/kept/test.parquet",
        "data/benchmarks/.kept.ab.partial/corpus.jsonl",
    ]
    write(there, *left, text="left")
    set_leftovers_aside(MODELS, BENCHMARKS)
    assert files(there) == before | {f"data/set_aside/{path}": "left" for path in left}
    assert "data/benchmarks/gone belongs to nothing that the pipeline names now" in caplog.text


def test_what_is_set_aside_twice_is_there_once(there: Path) -> None:
    for text, paths in (("old", ("a", "b")), ("new", ("a",))):
        write(there, *(f"data/benchmarks/gone/{path}" for path in paths), "metrics/base/gone.json", text=text)
        set_leftovers_aside(MODELS, BENCHMARKS)
    assert files(there / "data/set_aside") == {"data/benchmarks/gone/a": "new", "metrics/base/gone.json": "new"}


def test_a_link_is_moved_and_what_it_points_to_stays(there: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mine = tmp_path_factory.mktemp("mine")
    write(mine, "corpus.jsonl")
    for _ in range(2):
        (there / "data/benchmarks/gone").symlink_to(mine)
        set_leftovers_aside(MODELS, BENCHMARKS)
        assert not (there / "data/benchmarks/gone").is_symlink()
    assert (there / "data/set_aside/data/benchmarks/gone").readlink() == mine
    assert files(mine) == {"corpus.jsonl": "x"}


def test_every_folder_that_the_comparison_shares_with_other_stages_is_tidied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By dvc.yaml: what lies in a folder of which another stage's out is a part must be named, or move."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = {
        out if isinstance(out, str) else next(iter(out))
        for name, stage in stages.items()
        if name != "compare"
        for out in [*stage.get("do", stage).get("outs", []), *stage.get("do", stage).get("metrics", [])]
    }
    words = stages["compare"]["cmd"].split()[3:]
    models = [word for word in words if word != "--controls"]
    outs |= {out.replace("${item.model}", model) for out in outs for model in models}
    shared = [dep for dep in stages["compare"]["deps"] if any(out.startswith(f"{dep}/") for out in outs)]
    assert {"data/benchmarks", "data/runs"} <= set(shared)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, *(f"{dep}/gone" for dep in shared))
    set_leftovers_aside(models, BENCHMARKS)
    assert set(files(tmp_path)) == {f"data/set_aside/{dep}/gone" for dep in shared}


PIPELINE = """
stages:
  make:
    foreach: ${{names}}
    do:
      cmd: mkdir -p data/benchmarks/${{item}} && echo ${{item}} > data/benchmarks/${{item}}/corpus.jsonl
      outs:
      - data/benchmarks/${{item}}
  compare:
    cmd: {python} compare.py
    params:
    - names
    deps:
    - data/benchmarks
    outs:
    - compared
"""
COMPARE = """
import sys, yaml
from pathlib import Path
sys.path.insert(0, {root!r})
from ragcun.report.leftovers import set_leftovers_aside
set_leftovers_aside([], yaml.safe_load(Path("params.yaml").read_text())["names"])
Path("compared").write_text("x")
"""


def test_dvc_locks_what_is_left_after_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The premise of it all: a benchmark that comes and goes leaves the lock's entry of the comparison as it was."""
    from dvc.repo import Repo  # only here: it takes seconds

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (tmp_path / "compare.py").write_text(COMPARE.format(root=str(ROOT)))

    def locked(*names: str) -> dict:
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"names": list(names)}))
        with Repo() as repo:
            repo.reproduce()
        with Repo() as repo:
            assert not repo.status()
        found: dict = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"]["compare"]
        return found

    Repo.init(no_scm=True).close()
    alone, both = locked("a"), locked("a", "b")
    assert alone != both
    assert locked("a") == alone
    # A folder that no run of the pipeline put there.
    write(tmp_path, "data/benchmarks/strange/corpus.jsonl")
    assert locked("a") == alone
    assert locked("a", "b") == both
