"""The examples in docstrings show what the code does, and each public name of these rooms has one.

They run in an empty folder, and with the names of `tests.doctest_names`: tiny models, pairs and results, so that an example
need not make them. Each docstring gets its own copies.
"""

import copy
import doctest
import importlib
import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.doctest_names import tiny_names

ROOT = Path(__file__).parents[1]
ROOMS = ("encode", "measure", "model", "report", "search")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ROOMS
    for path in sorted(ROOT.glob(f"ragcun/{room}/[!_]*.py"))
]
# Modules in which some names have one.
MORE = ("ragcun.distributed", "ragcun.adapt.rule", "ragcun.adapt.stand_ins")
# Public names without an example, and why.
WITHOUT_EXAMPLE = {
    "ragcun.encode.store.Embeddings": "a record; read_embeddings shows it",
    "ragcun.model.saved.SavedProjection": "a record; saved_projection shows it",
    "ragcun.report.leakage.SeenTexts": "a record; read_seen_texts shows it",
}


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tiny_names(tmp_path_factory.mktemp("doctests"))


@pytest.mark.parametrize("name", [*MORE, *MODULES])
def test_examples_hold(name: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name.endswith("openvino_engine") and "RAGCUN_TEST_OPENVINO" not in os.environ:
        pytest.skip("tests/encode/test_openvino_engine.py runs it, in a process of its own")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in examples(importlib.import_module(name)):
        example.globs.update(copy.deepcopy(names))
        runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_has_an_example(name: str) -> None:
    module = importlib.import_module(name)
    shown = [example.name for example in examples(module)]
    # A class may have it in a method.
    without = {
        public for public in public_names(module) if not any(f"{each}.".startswith(f"{public}.") for each in shown)
    }
    assert without == {each for each in WITHOUT_EXAMPLE if each.rpartition(".")[0] == name}


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [found for found in doctest.DocTestFinder().find(module) if found.examples]


def public_names(module: ModuleType) -> list[str]:
    """The functions and classes that the module defines."""
    return [
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
