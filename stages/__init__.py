"""One thin script a stage: read params, call ragcun, write outs."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType

from ragcun.errors import RagcunError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage: a user's mistake becomes one line and exit code 1; a defect keeps its traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "sentence_transformers", "transformers", "accelerate", "bm25s"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
    # torchrun ends the other ranks with SIGTERM; leaving by an exception lets them remove what is half written.
    signal.signal(signal.SIGTERM, _leave)
    try:
        main()
    except RagcunError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


# A line a second is enough where bars go to a log file.
os.environ.setdefault("TQDM_MININTERVAL", "1")
