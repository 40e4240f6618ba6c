"""The cases of OpenVINO, in a process of their own.

SIGTERM to a process that has compiled with OpenVINO crashes it where pytest's faulthandler is on; without it, or outside pytest,
the handler is called as it should be. Tests of training send SIGTERM to themselves.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_openvino_in_a_process_of_its_own() -> None:
    cases = [str(HERE / "openvino_cases.py"), f"{HERE.parent / 'test_doctests.py'}"]
    environment = {**os.environ, "RAGCUN_TEST_OPENVINO": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *cases]
    done = subprocess.run(
        [*command, "-k", "openvino"], env=environment, cwd=HERE.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
