"""How every stage ends: a user's mistake in one line, a defect with its traceback."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_stage(body: str) -> subprocess.CompletedProcess[str]:
    script = (
        f"from stages import run_stage\nfrom ragcun.errors import RagcunError\ndef main():\n    {body}\nrun_stage(main)"
    )
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)


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
