"""What every test gets: a row cache of its own, no network, and a small base model for those that ask."""

import os
from pathlib import Path

import pytest

# The libraries read these when they are imported, before any fixture. The tensors here are so small that a second
# thread costs more than it brings.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, and leave out what needs a CUDA device where there is none: no skip is then a gap."""
    # The longest file first: with several workers it decides when the last one ends.
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_cuda():
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]


def _has_cuda() -> bool:
    import torch  # only where a test asks: loading torch takes seconds

    return torch.cuda.is_available()


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
