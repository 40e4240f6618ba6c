"""The examples in docstrings show what the code does, and each module of these rooms has one.

They run in an empty folder, and with the names of `tests.doctest_names`: tiny models, pairs and results, so that an example
need not make them. Each docstring gets its own copies.
"""

import copy
import doctest
import importlib
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
# Modules of functions that take the outputs of a whole project.
WITHOUT_EXAMPLE = {
    "ragcun.report.comparison",
    "ragcun.report.figures",
    "ragcun.report.leakage",
    "ragcun.report.leftovers",
}


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tiny_names(tmp_path_factory.mktemp("doctests"))


@pytest.mark.parametrize("name", ["ragcun.distributed", *MODULES])
def test_examples_hold(name: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in examples(importlib.import_module(name)):
        example.globs.update(copy.deepcopy(names))
        runner.run(example)
    assert runner.tries > 0 or name in WITHOUT_EXAMPLE
    assert runner.failures == 0


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [found for found in doctest.DocTestFinder().find(module) if found.examples]
