"""Unpack zip files from elsewhere: nothing lands outside the target, and an error leaves nothing behind.

Names are checked before a byte is written. Files are unpacked into a folder inside the target and take their places when
all of them are whole.
"""

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ragcun.core.errors import RagcunError

# Far above any base model or benchmark; a zip that unpacks to more is taken for a bomb.
MAX_UNPACKED_BYTES = 16 * 2**30
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError)
_CHUNK = 2**20
_ENCRYPTED = 0x1


def extract_zip(
    archive: Path,
    target: Path,
    *,
    folder: str,
    origin: str,
    wanted: Callable[[PurePosixPath], bool] = lambda name: True,
    max_bytes: int = MAX_UNPACKED_BYTES,
) -> None:
    """Unpack what lies under `folder` of the zip `archive` into the folder `target`.

    Args:
        wanted: whether to unpack a name (below `folder`); the others are checked all the same.
        max_bytes: of all unpacked files together.

    Raises RagcunError, naming `origin`, for: not a zip, damaged or encrypted; nothing under `folder`; more than
    `max_bytes`; a name that is absolute, climbs out of the folder, is there twice or is a link; no space left.
    """
    target.mkdir(parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(prefix=".unpacking.", dir=target))
    try:
        with zipfile.ZipFile(archive) as file:
            members = _members(file, folder, origin)
            _unpack(file, {name: info for name, info in members.items() if wanted(name)}, unpacked, max_bytes, origin)
        for path in unpacked.iterdir():
            path.rename(target / path.name)
    except DAMAGED as error:
        raise RagcunError(f"{origin}: the archive is damaged ({error}); run again to download it once more") from error
    except OSError as error:
        raise RagcunError(
            f"{origin}: the archive cannot be unpacked into {target} ({error.strerror or error}); "
            "make space there, or fix what it says"
        ) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _members(file: zipfile.ZipFile, folder: str, origin: str) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files under `folder` by their names below it, all of them safe."""
    prefix = folder.rstrip("/") + "/"
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in file.infolist():
        if not info.filename.startswith(prefix):
            continue
        name = PurePosixPath(info.filename.removeprefix(prefix))
        _refuse_unsafe(info, name, origin)
        if info.is_dir():
            continue
        if name in members:
            raise RagcunError(f"{origin}: the archive holds the name {info.filename!r} twice; it is not used")
        members[name] = info
    if not members:
        raise RagcunError(f"{origin}: the archive has no folder {folder}; report it, or name another")
    for name, info in members.items():
        if any(parent in members for parent in name.parents):
            raise RagcunError(f"{origin}: the archive holds {info.filename!r} below a file; it is not used")
    return members


def _refuse_unsafe(info: zipfile.ZipInfo, name: PurePosixPath, origin: str) -> None:
    # A NUL ends the name for zipfile, but not for other tools.
    unsafe = name.is_absolute() or ".." in name.parts or any(c in info.orig_filename for c in "\\:\0")
    # Archives made without a Unix mode have 0 here: plain files.
    special = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)
    if unsafe or special:
        raise RagcunError(f"{origin}: the archive holds the unsafe name or link {info.orig_filename!r}; it is not used")
    if info.flag_bits & _ENCRYPTED:
        raise RagcunError(f"{origin}: {info.filename!r} in the archive is encrypted; it is not used")


def _unpack(
    file: zipfile.ZipFile, members: dict[PurePosixPath, zipfile.ZipInfo], folder: Path, max_bytes: int, origin: str
) -> None:
    # Checked before any work by what the archive declares, then by what really arrives.
    left = max_bytes
    if sum(info.file_size for info in members.values()) > max_bytes:
        raise _too_large(origin, max_bytes)
    for name, info in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open(info) as source, path.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _too_large(origin, max_bytes)
                sink.write(chunk)


def _too_large(origin: str, max_bytes: int) -> RagcunError:
    return RagcunError(f"{origin}: the archive unpacks to more than {max_bytes} bytes; it is not used")
