"""The model card on the hub: metadata by `ModelCardData` in front of the run's own card, and the front's picture."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from hamu_ray.config.sources.document import PATHS, value_at
from hamu_ray.metrics.table import metric_of
from hamu_ray.results.folder import PROVENANCE_FILE
from hamu_ray.results.trial import TrialRecord
from hamu_ray.results.wording import words

PICTURE = "front.png"
PIPELINES = {"vision": "image-classification", "language": "text-generation"}
"""The hub's names of the tasks."""


def hub_card(repo: str, trial: TrialRecord, library: str | None, own: str, why: str) -> str:
    """Return the card of a model in a repository.

    Args:
        repo: The repository, `owner/name`.
        trial: The trial's record.
        library: The library that loads the model: `transformers`, `peft`, or None.
        own: The card that the run wrote.
        why: A sentence on how the model was selected.
    """
    run, name = trial.configuration, repo.rpartition("/")[2]
    task = str(run["data"].get("task") or run["model"]["task"])
    data = ModelCardData(
        model_name=name,
        library_name=library or "hamu_ray",
        pipeline_tag=PIPELINES.get(task),
        base_model=on_the_hub(run["model"].get("name")),
        datasets=on_the_hub(run["data"].get("path")),
        tags=["machine-unlearning", str(run["method"]["name"])],
        eval_results=eval_results(trial, task),
    )
    return f"---\n{data.to_yaml()}\n---\n{body_of(repo, run, own, why)}"


def eval_results(trial: TrialRecord, task: str) -> list[EvalResult]:
    """Return every metric of the model that is defined, as the hub's evaluation results."""
    data = trial.configuration["data"]
    kind = on_the_hub(data.get("path")) or str(data["name"])
    found = []
    for metric, value in trial.measures.items():
        if math.isfinite(value) and metric_of(metric, task) is not None:
            found.append(
                EvalResult(
                    task_type=PIPELINES.get(task, "other"),
                    dataset_type=kind,
                    dataset_name=str(data["name"]),
                    metric_type=metric,
                    metric_name=words(metric),
                    metric_value=round(value, 6),
                )
            )
    return found


def body_of(repo: str, run: Mapping[str, Any], own: str, why: str) -> str:
    """Return the text of the run's own card without its metadata and local paths, with the front's picture."""
    text = own.split("---\n", 2)[-1]
    for key in PATHS:
        value = value_at(run, key)
        if isinstance(value, str) and Path(value).is_absolute():
            text = text.replace(value, Path(value).name)
    text = text.replace('from_pretrained(".")', f'from_pretrained("{repo}")')
    text = "\n".join(
        line for line in text.split("\n") if not line.startswith(f"{PROVENANCE_FILE} has all of it")
    )
    title, _, rest = text.lstrip().partition("\n")
    return f"{title}\n\n{why}\n\n![The front]({PICTURE})\n{rest}"


def on_the_hub(name: str | None) -> str | None:
    """Return a name if it is one of the hub's, `owner/name`; None for folders and built-in models and data."""
    if not name or name.count("/") != 1 or name.startswith((".", "~", "/")) or Path(name).exists():
        return None
    return name
