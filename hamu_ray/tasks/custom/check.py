"""Whether a custom task is there and gives what a configuration asks of it. Loads none of its objects, and no torch."""

from collections.abc import Sequence
from pathlib import Path

from hamu_ray.config.task.custom import CustomData, CustomModelConfig
from hamu_ray.config.task.language import ForgetSplit
from hamu_ray.tasks.custom.parts import read_description
from hamu_ray.tasks.forecast import Forecast, Side, allowed, check_overlap


def check_custom(
    config: CustomData,
    choices: Sequence[tuple[ForgetSplit, int]],
    model: CustomModelConfig | None = None,
) -> None:
    """Check that the task is there, and that no example to forget also stands in the retain or test set.

    Raises `ValueError` with one line that names the key and the remedy.
    """
    description = read_description(config)
    for forget, _ in choices:
        if forget.split != "forget":
            raise ValueError(f"forget.split: custom data have the split forget alone, found {forget.split}")
        if not forget.allow_overlap:
            check_overlap(description.overlaps, "examples")


def forecast_custom(
    config: CustomData, forget: ForgetSplit, seed: int, model: CustomModelConfig, cache: Path | None
) -> Forecast:
    """Return what a run with these sections will forget, retain and test."""
    description = read_description(config)
    return Forecast(
        unit="examples",
        splits={name: Side(description.examples[name]) for name in ("forget", "retain", "test")},
        first=(),
        digest=description.forget_digest,
        overlaps=description.overlaps if allowed(forget) else (),
    )
