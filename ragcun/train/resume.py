"""Checkpoints that an interrupted run resumes from: whole ones only, and one more when the process is told to end.

When all ranks have written their part of a checkpoint, it is sealed with a list of its files and their hashes. A checkpoint
without a seal, or different from it, was cut off or damaged; the run resumes from the one before.
"""

import json
import logging
import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ragcun import distributed
from ragcun.core.files import hash_files, write_json

logger = logging.getLogger(__name__)

_SEAL = "files.json"


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint whole. Called once, after every rank has written."""
    write_json(checkpoint / _SEAL, _hashes(checkpoint))


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is what was sealed."""
    try:
        sealed = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(sealed == _hashes(checkpoint))


def latest_whole(work: Path) -> Path | None:
    """The newest whole checkpoint of a run's folder; a warning for each newer one that is not."""
    found = sorted(work.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
    for checkpoint in found:
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is not whole: going back to the checkpoint before it", checkpoint)
    return None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return hash_files(checkpoint, (path for path in checkpoint.rglob("*") if path.is_file() and path.name != _SEAL))


class SaveOnTermination(TrainerCallback):
    """In its `with` block, SIGTERM lets the step or the evaluation end, saves a checkpoint, and ends the training.

    That holds for the last step too: whoever sent the signal counts the run as failed, and the next one only has to
    evaluate and write the model. A signal reaches the ranks at different times, or one of them only: after each step and
    each evaluation they agree whether to stop.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "SaveOnTermination":
        self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if distributed.any_rank(self.requested):
            control.should_save = control.should_training_stop = True
            # There may not be the time; the run that goes on makes it first.
            control.should_evaluate = False
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        # The checkpoint was saved before. Only the evaluation of step 0 has none: there, the first step is made and saved.
        if distributed.any_rank(self.requested) and state.global_step > 0:
            control.should_training_stop = True
        return control
