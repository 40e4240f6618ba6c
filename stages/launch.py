"""Start a stage: in this process, on several, or as one node of several machines.

Usage: python -m stages.launch --nproc-per-node=N [TORCHRUN OPTION...] -m stages.STAGE [ARGUMENT...]

params.yaml is checked first. One process runs the stage itself and saves the seconds that torchrun takes to start;
anything else is torchrun's, with the same arguments.
"""

import contextlib
import ctypes
import logging
import os
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Callable
from types import FrameType

from ragcun.core.disk import full_disk
from ragcun.core.errors import LostProcessError, RagcunError
from ragcun.params import load_params

# Seconds that torchrun, told to end, leaves a training to end its step and save it (30 unless told).
SHUTDOWN_TIMEOUT = 120
# Seconds in which torchrun notices the process that failed first.
_AFTER_THE_FIRST = 3
# Left behind by another launcher, these would make the one process wait for others.
_OF_A_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_UNDER_TORCHRUN = "TORCHELASTIC_ERROR_FILE" in os.environ

# A line a second is enough where bars go to a log file.
os.environ.setdefault("TQDM_MININTERVAL", "1")
# NumPy's own threads: its matrices here are small, and beside another busy process they cost 30 times one thread's time. Their
# number would decide the last digits too. torch, which does the large products, has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def run_stage(main: Callable[[], object]) -> None:
    """Run a stage's `main`: a user's mistake or a full disk becomes one line and exit code 1; a defect keeps its traceback.

    Under torchrun the error is recorded too, so that torchrun's report names the first one. A rank that fails because it
    lost another one says so in a line, and leaves a little later than that one did.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "sentence_transformers", "transformers", "accelerate", "bm25s", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
    _end_with_torchrun()
    # torchrun ends the other ranks with SIGTERM; leaving by an exception lets them remove what is half written.
    signal.signal(signal.SIGTERM, _leave)
    try:
        main()
    except LostProcessError as error:
        print(error, file=sys.stderr, flush=True)
        time.sleep(_AFTER_THE_FIRST)
        sys.exit(1)
    except Exception as error:
        _record(error)
        full = full_disk(error)
        if full is None and not isinstance(error, RagcunError):
            raise
        print(f"error: {full or error}", file=sys.stderr, flush=True)
        sys.exit(1)


def launch(arguments: list[str]) -> None:
    """Run a stage as torchrun's `arguments` say: in this process where they ask for one on one machine, else by torchrun."""
    at = arguments.index("-m")
    options, (module, *rest) = arguments[:at], arguments[at + 1 :]
    if options == ["--nproc-per-node=1"]:
        for name in _OF_A_RANK:
            os.environ.pop(name, None)
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    # Before torchrun starts: a mistake in params.yaml is one line then, not one a rank with torchrun's report.
    run_stage(load_params)
    if not any(option.startswith("--nnodes") for option in options):
        options = ["--standalone", *options]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--shutdown-timeout={SHUTDOWN_TIMEOUT}", *options]
    os.execv(sys.executable, [*torchrun, "-m", module, *rest])


def _end_with_torchrun() -> None:
    """Die when torchrun does: it starts its processes in sessions of their own, where a kill of its group does not reach them.

    One that lived on would write checkpoints beside those of the run that is started next. Linux only.
    """
    if _UNDER_TORCHRUN and sys.platform == "linux":
        set_parent_death_signal = 1  # of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _record(error: Exception) -> None:
    if _UNDER_TORCHRUN:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        # The record is a file of torchrun's, and the error may be that there is no room for one.
        with contextlib.suppress(OSError):
            get_error_handler().record_exception(error)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


if __name__ == "__main__":
    launch(sys.argv[1:])
