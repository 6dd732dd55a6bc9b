"""A small run on real digits."""

from pathlib import Path
from typing import Any


def small_run(storage: Path, **sections: Any) -> dict[str, Any]:
    """A run's configuration: real digits, a short recipe, a few steps."""
    document: dict[str, Any] = {
        "name": "small",
        "seed": 41,
        "storage": {"path": str(storage)},
        "training": {
            "epochs": 3,
            "batch_size": 128,
            "select": "last",
            "optimizer": {"name": "adamw", "learning_rate": 3e-3, "clip_norm": 1.0},
        },
        "batch": {"retain": 64, "forget": 64},
        "duration": {"steps": 6},
        "evaluation": {"every_steps": None, "every_epochs": None},
        "method": {"name": "hamu-q", "constraint_ratio": 0.3},
        "optimizer": {"name": "sgd", "learning_rate": 0.01},
        "workers": {"count": 1},
    }
    for name, section in sections.items():
        merged = isinstance(document.get(name), dict) and isinstance(section, dict)
        document[name] = {**document[name], **section} if merged else section
    return document
