"""What every test gets: a row cache of its own, no network, and a small base model for those that ask."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, call
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.invariants import Invariant
    from tests.project import Project

# The libraries read these when they are imported, before any fixture. The tensors here are so small that a second
# thread costs more than it brings.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, and leave out what needs a CUDA device, clients or a browser where there is none: no skip is then a gap."""
    # The longest files first, so that short ones fill the end. test_pipeline.py makes the project that others run, so these
    # come after two that do without.
    first = ["pipeline", "sources_chain", "faults", "nodes", "experiment_runs", "own_data", "kills"]
    order = {f"test_{name}.py": place - len(first) for place, name in enumerate(first)}
    items.sort(key=lambda item: order.get(item.path.name, 0))
    for marker, there in (
        ("gpu", _has_cuda),
        ("clients", _has_clients),
        ("browser", _has_browser),
        ("latex", _has_latex),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not there():
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]


def _has_clients() -> bool:
    return find_spec("fastembed") is not None


def _has_browser() -> bool:
    from tests.browser import chromium

    return chromium() is not None


def _has_latex() -> bool:
    return which("pdflatex") is not None and not call(
        ["kpsewhich", "siunitx.sty", "booktabs.sty"], stdout=DEVNULL, stderr=DEVNULL
    )


def _has_cuda() -> bool:
    import torch  # only where a test asks: loading torch takes seconds

    return torch.cuda.is_available()


@pytest.fixture
def invariant(record_property: Callable[[str, object], None]) -> "Invariant":
    """Fails where a difference is above its bound, and notes it for the list at the end of the run."""
    from tests.invariants import PROPERTY

    def hold(name: str, seen: float, bound: float) -> None:
        # Plain numbers: a test's worker sends them to the process that prints the list.
        record_property(PROPERTY, (name, float(seen), float(bound)))
        assert seen <= bound, f"{name}: {seen:g} is more than {bound:g}"

    return hold


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the invariants that the tests held, with the largest difference seen in each."""
    from tests.invariants import lines

    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    found = lines([each for report in reports for each in report.user_properties])
    if found:
        terminalreporter.section("invariants, and the largest difference seen")
        for line in found:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def row_cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test's own row cache, which no other test and no user has filled."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RAGCUN_CACHE", str(folder))
    monkeypatch.delenv("RAGCUN_CACHE_GB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved SentenceTransformer of two random layers: read it, do not write to it."""
    from tests.tiny import save_tiny_base

    return save_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """A copy of the project with tiny params, run once and committed."""
    from tests.project import copy_of_first_run

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return copy_of_first_run(shared, tmp_path_factory.mktemp("project") / "of-this-file")


@pytest.fixture
def edited(project: "Project") -> "Iterator[Project]":
    """The project as committed, to edit but not to run; as committed again afterwards."""
    yield project
    project.restore_files()


@pytest.fixture
def fresh(edited: "Project") -> "Iterator[Project]":
    """The project as committed, to run; it and its outputs as committed again afterwards."""
    yield edited
    edited.restore_files()
    edited.run("dvc", "checkout", "--quiet", "--force")
