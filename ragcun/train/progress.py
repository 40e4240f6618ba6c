"""What a run prints: a bar over its steps, and a line for each step that is logged."""

from typing import Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Progress(ProgressCallback):
    """A bar over the steps, and a short line for each logged step."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            figures = " ".join(
                f"{name.removeprefix('eval_')} {value:.4g}" for name, value in logs.items() if name != "epoch"
            )
            self.training_bar.write(f"step {state.global_step}/{state.max_steps}: {figures}")


class LogLastStep(TrainerCallback):
    """Logs the last step, which is evaluated too, where the steps between logs do not divide the run."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_log = True
        return control
