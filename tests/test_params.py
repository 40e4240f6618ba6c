"""params.yaml: what is in the project's own file is right, and every wrong file is an error that names the key."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragcun.core.errors import RagcunError
from ragcun.params import load_params, main

PROJECT = Path(__file__).parents[1] / "params.yaml"


def changed(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with `a__b=value` set at a.b; a value of ... removes the key."""
    raw = copy.deepcopy(raw)
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = raw
        for parent in parents:
            section = section[parent]
        if value is ...:
            del section[last]
        else:
            section[last] = value
    return raw


def written(tmp_path: Path, **changes: Any) -> Path:
    """The project's params.yaml, `changed`."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed(yaml.safe_load(PROJECT.read_text()), **changes)))
    return path


def test_the_projects_own_params_are_right() -> None:
    assert load_params(PROJECT).base_model


def test_a_number_that_arrives_as_text_is_converted(tmp_path: Path) -> None:
    path = written(tmp_path, finetune__strategies__smart_hybrid__projection_learning_rate="1e-06")
    # The premise: YAML itself reads this notation as a string.
    assert yaml.safe_load("x: 1e-06")["x"] == "1e-06"
    assert load_params(path).finetune.strategy("smart_hybrid").projection_learning_rate == 1e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temprature": 1}, ["temprature", "unknown key"]),
        ({"finetune__shared__tau": 1}, ["finetune.shared.tau", "unknown key"]),
        ({"finetune__shared__temperature": ...}, ["finetune.shared.temperature", "missing"]),
        ({"finetune__shared__epochs": "many"}, ["finetune.shared.epochs", "many"]),
        ({"output_dim": 0}, ["output_dim", "0"]),
        ({"output_dim": -3}, ["output_dim", "-3"]),
        ({"whitening": 1.5}, ["whitening", "1.5"]),
        ({"whitening": -0.1}, ["whitening", "-0.1"]),
        ({"similarity": "manhattan"}, ["similarity", "manhattan", "euclidean"]),
        ({"projection": "linear", "dropout": 0.1}, ["dropout is 0.1", "set dropout to 0, or projection to two_layer"]),
        ({"ddp__nproc_per_node": 0}, ["ddp.nproc_per_node", "0"]),
        ({"ddp__nproc_per_node": "all"}, ["ddp.nproc_per_node", "all"]),
        ({"finetune__shared__negatives": 99}, ["finetune.shared.negatives", "data.mined_negatives"]),
        ({"data__benchmarks": []}, ["data.benchmarks"]),
        ({"data__queries_are_documents": ["mine"]}, ["queries_are_documents names mine, not in local"]),
        ({"data__queries_are_documents": ["arguana"]}, ["arguana", "of the benchmarks that ragcun brings it is known"]),
        ({"data__benchmarks": ["a", "a"]}, ["benchmarks", "a", "once"]),
        ({"data__benchmarks": ["../a"]}, ["data.benchmarks", "../a"]),
        ({"data__local": {"a/b": "x"}}, ["data.local", "a/b"]),
        ({"data__benchmarks": ["pairs"]}, ["pairs", "rename"]),
        ({"evaluate__top_k": 999}, ["evaluate.top_k", "999"]),
        ({"finetune__live__negatives": 99}, ["finetune.live.negatives", "data.mined_negatives"]),
        ({"finetune__strategies": {}}, ["finetune.strategies"]),
        ({"finetune__strategies__mine": {}}, ["finetune.strategies.mine.projection_learning_rate"]),
        ({"seed": -1}, ["seed", "-1"]),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RagcunError) as raised:
        load_params(written(tmp_path, **changes))
    for word in words:
        assert word in str(raised.value)


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RagcunError, match=r"output_dim.*; whitening"):
        load_params(written(tmp_path, output_dim=0, whitening=2))


def test_gpu_where_there_is_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RagcunError, match="no CUDA device: give a number"):
        load_params(written(tmp_path, ddp__nproc_per_node="gpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert load_params(written(tmp_path, ddp__nproc_per_node="gpu")).ddp.nproc_per_node == "gpu"


@pytest.mark.parametrize(("text", "words"), [("a: [", "not valid YAML"), ("- 1", "keys and values"), ("", "NoneType")])
def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(RagcunError, match=words):
        load_params(path)


def test_an_unknown_strategy_is_an_error() -> None:
    finetune = load_params(PROJECT).finetune
    for name in ("shared", "dreams"):
        with pytest.raises(RagcunError, match=f"finetune.strategies.{name}"):
            finetune.strategy(name)


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("data__wikipedia__dump_date", "2023-11-01", "eight digits, such as 20231101"),
        ("data__beir_url", "mirror.example.org/BEIR", "https://HOST/PATH"),
        # It would stand in dvc.lock, which is shared.
        ("data__beir_url", "https://me:secret@mirror.example.org", "without user and password"),
        ("data__beir_url", "https://mirror.example.org/BEIR?token=secret", "without ? and #"),
    ],
)
def test_a_setting_of_another_form_is_told_its_own(tmp_path: Path, key: str, value: str, form: str) -> None:
    with pytest.raises(RagcunError, match=f"{key.replace('__', '.')}: write it as .*{re.escape(form)}") as caught:
        load_params(written(tmp_path, **{key: value}))
    assert "secret" not in str(caught.value)


def test_a_date_that_arrives_as_a_number_is_text(tmp_path: Path) -> None:
    assert load_params(written(tmp_path, data__wikipedia__dump_date=20231101)).data.wikipedia.dump_date == "20231101"


def test_negatives_that_a_source_gives_count_beside_those_mined(tmp_path: Path) -> None:
    """MS MARCO gives at most nine, and a file of one's own any number."""
    wanted = {"data__mined_negatives": 2, "finetune__shared__negatives": 11}
    load_params(written(tmp_path, data__pairs="msmarco", **wanted))
    load_params(written(tmp_path, data__pairs="mine.jsonl", **wanted))
    with pytest.raises(RagcunError, match=r"shared\.negatives is 12, but .* is 2 and .*max_negatives 9"):
        load_params(written(tmp_path, data__pairs="msmarco", **{**wanted, "finetune__shared__negatives": 12}))
    with pytest.raises(RagcunError, match=r"shared\.negatives is 11, but .* is 2:"):
        load_params(written(tmp_path, **wanted))


def test_the_check_on_its_own_exits_by_the_files_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 1
    assert "params.yaml is missing" in capsys.readouterr().err
    written(tmp_path)
    assert main() == 0
    assert capsys.readouterr().err == ""
