"""Put on PYTHONPATH by tests: makes a training step of one rank fail, as FAULT says: kind:rank:step.

raise: a defect; hang: it sleeps; kill: SIGKILL to this process; kill-all: to the process group of
torchrun, which ends this process too; term: SIGTERM to
this process; nan: its loss is not a number; slow: every step of every rank takes half a second; late: a defect when its
training is done, whatever the step.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any


def _inject(trainer: Any, fault: str) -> None:
    kind, rank, step = fault.split(":")
    compute = trainer.Trainer.compute_loss

    def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kind == "slow":
            time.sleep(0.5)
        if self.state.global_step != int(step) or int(os.environ.get("RANK", "0")) != int(rank):
            return compute(self, *args, **kwargs)
        if kind == "raise":
            raise ZeroDivisionError("injected")
        if kind == "hang":
            time.sleep(1000)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "kill-all":
            os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
            time.sleep(60)
        if kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == "nan":
            self.losses_factor = float("nan")
        return compute(self, *args, **kwargs)

    trainer.Trainer.compute_loss = faulty
    run = trainer.Trainer.run

    def failing_late(self: Any) -> Any:
        result = run(self)
        if kind == "late" and int(os.environ.get("RANK", "0")) == int(rank):
            raise ZeroDivisionError("injected late")
        return result

    trainer.Trainer.run = failing_late
    if kind == "nan":
        check = trainer.Trainer._check_finite
        trainer.Trainer._check_finite = lambda self, what, value: check(
            self, what, value * getattr(self, "losses_factor", 1.0)
        )


class _Finder(importlib.abc.MetaPathFinder):
    """Finds ragcun.train.trainer like everyone, and injects the fault when it has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "ragcun.train.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _inject(module, os.environ["FAULT"])

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("FAULT"):
    sys.meta_path.insert(0, _Finder())
