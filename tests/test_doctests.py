"""The examples in docstrings show what the code does, and each module of these rooms has one."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("encode", "measure", "model", "report", "search")
PATHS = [
    ROOT / "ragcun/distributed.py",
    *(path for room in ROOMS for path in sorted(ROOT.glob(f"ragcun/{room}/[!_]*.py"))),
]
# Modules of functions that take the outputs of a whole project.
WITHOUT_EXAMPLE = {
    "ragcun.report.comparison",
    "ragcun.report.figures",
    "ragcun.report.leakage",
    "ragcun.report.leftovers",
}


@pytest.mark.parametrize("name", [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PATHS])
def test_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name in WITHOUT_EXAMPLE
