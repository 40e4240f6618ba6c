"""How every stage ends: a user's mistake or a full disk in one line, a defect with its traceback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FULL = Path("/dev/full")


def run_stage(body: str, *, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        f"from stages.launch import run_stage\nfrom ragcun.core.errors import RagcunError\n{before}\n"
        f"def main():\n    {body}\nrun_stage(main)"
    )
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_a_users_mistake_is_one_line_and_exit_code_one() -> None:
    done = run_stage("raise RagcunError('the cause: the remedy')")
    assert (done.returncode, done.stderr) == (1, "error: the cause: the remedy\n")


def test_a_defect_keeps_its_traceback() -> None:
    done = run_stage("raise KeyError('defect')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_stage_told_to_end_cleans_up() -> None:
    done = run_stage(
        "import os, signal\n    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n    finally:\n        print('cleaned')"
    )
    assert (done.returncode, done.stdout) == (143, "cleaned\n")


def test_a_stage_that_works_says_nothing() -> None:
    done = run_stage("pass")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def full_device(tmp_path: Path) -> Path:
    """A link to the device that has no room: who removes the file it is given removes the link alone."""
    assert FULL.is_char_device(), "the premise: this machine has /dev/full"
    path = tmp_path / "full"
    path.symlink_to(FULL)
    return path


def assert_full_disk(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: the disk, or your quota of it, is full.* Free now, .*: \d+\.\d\d GB at /\S* \(the project.*\)\. "
        r"Free more .* RAGCUN_CACHE, HF_HOME, TMPDIR\n",
        done.stderr,
    ), done.stderr
    return done.stderr


# The parquet file in the folder that is being written becomes the device without room.
ON_A_FULL_DISK = """
from contextlib import contextmanager
from pathlib import Path
from ragcun.sources import records
from ragcun.sources.source_report import SourceReport

atomic_folder = records.atomic_folder

@contextmanager
def on_a_full_disk(path):
    with atomic_folder(path) as partial:
        (partial / "pairs.parquet").symlink_to("/dev/full")
        yield partial

records.atomic_folder = on_a_full_disk
"""


def test_records_that_find_the_disk_full_leave_nothing_and_keep_what_was_there(
    tmp_path: Path, full_device: Path
) -> None:
    full_device.unlink()
    old = tmp_path / "pairs" / "pairs.parquet"
    old.parent.mkdir()
    old.write_text("of an earlier run")
    body = (
        f"records.write_pair_records([records.Pair('train', 'q', 'p')], Path({str(old.parent)!r}), SourceReport('x'))"
    )
    assert_full_disk(run_stage(body, before=ON_A_FULL_DISK))
    assert list(tmp_path.rglob("*")) == [old.parent, old]
    assert old.read_text() == "of an earlier run"
    assert FULL.is_char_device()


def test_a_file_that_finds_the_disk_full_leaves_nothing(tmp_path: Path, full_device: Path) -> None:
    body = (
        f"with atomic_file(Path({str(tmp_path / 'new.txt')!r})) as partial, open({str(full_device)!r}, 'w') as file:\n"
        "        partial.write_text('half')\n        file.write('other half')"
    )
    assert_full_disk(run_stage(body, before="from pathlib import Path\nfrom ragcun.core.files import atomic_file"))
    assert list(tmp_path.iterdir()) == [full_device]


def test_a_copy_that_finds_the_disk_full_names_what_is_written() -> None:
    """shutil names both files, what is read first."""
    done = run_stage("raise OSError(28, 'no room', '/read', None, '/written')")
    assert "is full while writing /written (" in assert_full_disk(done)


@pytest.mark.parametrize(
    "error",
    [
        # What each library was seen to raise on a full file system.
        "OSError(errno.EDQUOT, 'Disk quota exceeded')",
        "Exception('No space left on device (os error 28)')",  # tokenizers; safetensors with words before it
        "RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 640 vs 534')",  # torch.save
        "OSError('100000 requested and 1008 written')",  # numpy
        "sqlite3.OperationalError('database or disk is full')",
        "RagcunError('pip could not download it. pip said: ERROR: [Errno 28] No space left on device')",
    ],
)
def test_what_libraries_say_of_a_full_disk_is_understood(error: str) -> None:
    assert_full_disk(run_stage(f"raise {error}", before="import errno, sqlite3"))


def test_a_full_disk_behind_another_error_is_found() -> None:
    body = "try:\n        raise OSError(28, 'no room')\n    except OSError as error:\n        raise {} from error"
    assert "no room" in assert_full_disk(run_stage(body.format("RagcunError('could not be downloaded')")))
    assert "no room" in assert_full_disk(run_stage(body.format("KeyError('a defect on the way out')")))


def test_another_fault_of_the_disk_keeps_its_traceback() -> None:
    done = run_stage("open('/')")
    assert "Traceback" in done.stderr
    assert "is full" not in done.stderr


def test_a_disk_too_full_for_torchruns_record_is_named_all_the_same(full_device: Path) -> None:
    done = run_stage("raise OSError(28, 'no room')", TORCHELASTIC_ERROR_FILE=str(full_device))
    assert_full_disk(done)
