"""Move away the results of benchmarks and models that the pipeline no longer names.

DVC removes the outputs of a stage before it runs it, but not those of a stage that is gone. `compare` depends on whole
folders, because DVC templates no list into `deps`: what such a stage left there would enter dvc.lock, and another clone's
lock would differ. DVC notes the deps after the command has run, so what the command moved away is not in the lock.
"""

import logging
import shutil
from collections.abc import Collection
from pathlib import Path

logger = logging.getLogger(__name__)

SET_ASIDE = Path("data/set_aside")


def set_aside(folder: Path, keep: Collection[str]) -> None:
    """Move to data/set_aside every entry of `folder` (relative to the project's folder) whose name is not in `keep`.

    It keeps its path there and replaces what was set aside under this path before.

    >>> Path("data/runs/no_longer_named").mkdir(parents=True)
    >>> set_aside(Path("data/runs"), keep=["base"])
    >>> Path("data/set_aside/data/runs/no_longer_named").is_dir()
    True
    """
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.name in keep:
            continue
        target = SET_ASIDE / entry
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(entry, target)
        logger.warning(
            "%s belongs to nothing that the pipeline names now: it is in %s, and may be deleted", entry, target
        )


def set_leftovers_aside(models: Collection[str], benchmarks: Collection[str]) -> None:
    """Leave only the results of these models on these benchmarks: where `compare` reads, and in metrics/, which is in git.

    >>> Path("data/runs/base/no_longer_named").mkdir(parents=True)
    >>> set_leftovers_aside(models=["base"], benchmarks=["scifact"])
    >>> Path("data/set_aside/data/runs/base/no_longer_named").is_dir()
    True
    """
    set_aside(Path("data/benchmarks"), benchmarks)
    set_aside(Path("data/runs"), models)
    for model in models:
        set_aside(Path("data/runs", model), benchmarks)
        set_aside(Path("metrics", model), [f"{benchmark}.json" for benchmark in benchmarks])
