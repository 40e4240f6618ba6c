"""One thin script a stage: read params, call ragcun, write outs."""

import ctypes
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from types import FrameType

from ragcun.errors import LostProcessError, RagcunError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage: a user's mistake becomes one line and exit code 1; a defect keeps its traceback.

    Under torchrun the error is recorded too, so that its report names the first one. A rank that fails because it lost
    another one says so in a line and leaves a little later than that one did.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "sentence_transformers", "transformers", "accelerate", "bm25s"):
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
    except RagcunError as error:
        _record(error)
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception as error:
        _record(error)
        raise


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

        get_error_handler().record_exception(error)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


_UNDER_TORCHRUN = "TORCHELASTIC_ERROR_FILE" in os.environ
# Seconds in which torchrun notices the process that failed first.
_AFTER_THE_FIRST = 3

# A line a second is enough where bars go to a log file.
os.environ.setdefault("TQDM_MININTERVAL", "1")
