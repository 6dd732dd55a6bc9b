"""Configurations with an error, and the expected message."""

from pathlib import Path

import pytest

from hamu_ray.config.sources.files import ConfigError, load_sweep
from hamu_ray.config.sweep import SweepConfig

SPACE = "space: {optimizer.learning_rate: {loguniform: [1e-4, 0.1]}}"
"""Turns any run's configuration into a sweep's."""

JARGON = (
    "Input should",
    "valid dictionary",
    "pydantic",
    "Value error",
    "Traceback",
    "validation error",
    "Field required",
)


def load(folder: Path, text: str | bytes, *overrides: str) -> SweepConfig:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_sweep(path, overrides)


def error_of(folder: Path, text: str | bytes, *overrides: str) -> str:
    """The error message without the file, which it must start with."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert not any(word in message for word in JARGON)
    assert message.startswith(str(folder / "x.yaml"))
    return message.removeprefix(str(folder / "x.yaml")).removeprefix(": ")
