"""Experiment trackers beside the curves: TensorBoard, Weights & Biases, MLflow, DVCLive, by transformers' callbacks.

Local trackers write to data/tracking/<run>, which neither git nor dvc keeps. Trackers see the curve and decide no result.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.params import Tracking

FOLDER = Path("data/tracking")


def trackers(tracking: Tracking, run: str) -> list[TrainerCallback]:
    """The trackers that the params name, for the run `run`; on rank 0 only.

    Raises:
        RagcunError: one is not installed.
    """
    for name in tracking.report_to:
        if find_spec(name) is None:
            raise RagcunError(f"tracking.report_to names {name}, which is not installed: pip install {name}")
    if not distributed.is_main():
        return []
    return [_tracker(name, run) for name in tracking.report_to]


def _tracker(name: str, run: str) -> TrainerCallback:
    (kind,) = get_reporting_integration_callbacks([name])
    folder = FOLDER / run
    kwargs: dict[str, Any] = {}
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        kwargs["tb_writer"] = SummaryWriter(log_dir=str(folder / name))
    elif name == "dvclive":
        from dvclive import Live

        # It would write a dvc.yaml of its own and record an experiment; the stage is dvc's already.
        kwargs["live"] = Live(dir=str(folder / name), dvcyaml=None, save_dvc_exp=False, monitor_system=False)
    elif name == "wandb":
        os.environ.setdefault("WANDB_DIR", str(folder.parent))
    elif name == "mlflow":
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"file:{folder.parent.resolve() / name}")
    created: TrainerCallback = kind(**kwargs)
    return created
