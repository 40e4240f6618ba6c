"""Files from the network: downloaded with patience, checked, and published whole or not at all.

`transfer` brings the bytes and goes on after breaks, also of an earlier process; here the whole file is held to its hash,
and only then takes its name, by a rename. A file that differs is fetched once more from its start, then it is an error.
"""

import errno
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from ragcun.core.errors import RagcunError
from ragcun.core.files import cache_folder
from ragcun.fetch.transfer import Address, Part, Patience

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Checks:
    """What the whole file must be, as far as it is known; hashes in hexadecimal."""

    md5: str | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def by_hash(self) -> bool:
        return bool(self.md5 or self.sha256)

    def difference(self, path: Path) -> str | None:
        """What is wrong with the file, or None."""
        size = path.stat().st_size
        if self.size not in (None, size):
            return f"it has {size} bytes instead of {self.size}"
        for name, expected in (("md5", self.md5), ("sha256", self.sha256)):
            if expected:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False))
                if found.hexdigest() != expected.lower():
                    return f"its {name.upper()} is {found.hexdigest()} instead of {expected}"
        return None


def downloads_folder() -> Path:
    """Where finished and partial downloads lie: outside the pipeline's outputs, which DVC deletes before a stage."""
    return cache_folder() / "downloads"


def fetch(
    url: str,
    target: Path,
    *,
    label: str,
    remedy: str,
    md5: str | None = None,
    sha256: str | None = None,
    expected_bytes: int | None = None,
    patience: Patience | None = None,
) -> None:
    """Make `target` the file at `url`. Where it is there already and passes the checks, nothing is asked of the network.

    Two processes that want one file take turns; the second finds it there.

    Args:
        url: may hold `user:password@`, which is sent and appears nowhere.
        label: what the file is, for messages. remedy: what to correct where the address is wrong: "check ...".

    Raises:
        RagcunError: it is not there, refused, not the published one, or the network or disk gives up. What has arrived
            is kept for the next call, unless it differs.
    """
    checks = _Checks(md5, sha256, expected_bytes)
    with _disk_errors_explained(target.parent), _turn(target, label):
        if _is_there(target, checks, label):
            return
        part = Part(
            target,
            Address(url),
            label=label,
            remedy=remedy,
            patience=patience or Patience(),
            size=expected_bytes,
            needs_validator=not checks.by_hash,
        )
        for again in (True, False):
            difference = part.complete() or checks.difference(part.path)
            if difference is None:
                part.publish()
                return
            part.drop()
            if again:
                logger.warning(
                    "%s: what came from %s is not right, %s; trying once more", label, part.source, difference
                )
        raise RagcunError(
            f"{label}: the file at {part.source} is not the one that was published: {difference}. "
            f"The server has an altered or another file; {remedy}"
        )


def _is_there(target: Path, checks: _Checks, label: str) -> bool:
    if not target.exists():
        return False
    difference = checks.difference(target)
    if difference is None:
        logger.info("%s is there already: %s", label, target)
        return True
    logger.warning("%s is downloaded again: %s was altered, %s", label, target, difference)
    target.unlink()
    return False


@contextmanager
def _turn(target: Path, label: str) -> Iterator[None]:
    """This process's turn at `target`. The lock of a process that died is free."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s: another process downloads it; waiting", label)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:
        # NotImplementedError: a file system without locks.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = error.strerror or error if isinstance(error, OSError) else error
        remedy = "make space there" if full else "mend this"
        raise RagcunError(f"{folder}: {reason}; {remedy}, or name another folder in RAGCUN_CACHE") from error
