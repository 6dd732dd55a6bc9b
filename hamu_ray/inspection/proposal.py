"""The search space that fits a model, data and a machine: sections of a configuration, each with a comment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from hamu_ray.footprint.machine import Machine
from hamu_ray.inspection.dataset import Data
from hamu_ray.inspection.model import Model
from hamu_ray.inspection.request import Request
from hamu_ray.results.diagnosis.finding import Finding
from hamu_ray.tasks.models.checkpoints import Checkpoint
from hamu_ray.tasks.vision.classes import order_of

STEPS, SAMPLES = 100, 6
"""Steps of a trial, and trials of each method."""

LARGE = 1_000_000_000
"""Number of parameters from which a language model is unlearned with an adapter."""

LONGEST = 1024
"""Maximum length of texts in tokens, if the context allows it."""

SIDE = 32
"""Side length of images of different sizes for a built-in model."""

METHODS = {"vision": ["hamu-q", "hamu-u", "gdiff", "scrub"], "language": ["hamu-q", "hamu-u", "gdiff", "npo"]}
"""Methods that are compared: HAMU in both variants, and usual baselines of the task."""

LEARNING_RATES = {"vision": [1e-3, 0.1], "language": [3e-3, 0.3]}
"""Bounds of the learning rate; gradients are clipped to a norm of 1."""


@dataclass(frozen=True)
class Proposal:
    """A search space, and what its reader should know."""

    sections: dict[str, Any]
    comments: Mapping[str, str]
    """A comment for a section, by its key."""
    findings: Sequence[Finding]

    def text(self, title: str) -> str:
        """Return it as a YAML file under a title."""
        lines = [f"# {title}"]
        for line in yaml.safe_dump(
            self.sections, sort_keys=False, width=110, default_flow_style=None
        ).splitlines():
            comment = self.comments.get(line.partition(":")[0])
            lines += [f"# {comment}"] if comment else []
            lines.append(line)
        return "\n".join((*lines, ""))


def propose(
    name: str, model: Model, data: Data, machine: Machine, request: Request, base: str | None
) -> Proposal:
    """Return the search space; ``base`` are weights that were not trained on the forget set, if given.

    Raises:
        ValueError: The data lack what a run needs; one line with the remedy.
    """
    vision = data.task == "vision"
    proposal = (
        _vision(model, data, base or model.base) if vision else _language(model, data, base or model.base)
    )
    sections, comments, findings = proposal
    whole_class = request.section["kind"] == "class" and not request.section.get("rho")
    lacks_reference = sections["reference"].get("source") == "none"
    evaluation = {"every_steps": 10, "subset": 200, "batch_size": 64 if vision else 16}
    tail = {
        "batch": {"retain": 32, "forget": 32, **({} if vision else {"micro": 8})},
        "duration": {"steps": STEPS},
        "evaluation": evaluation,
        **({} if lacks_reference else {"stop": {"forget_level": "reference"}}),
        "workers": _workers(machine),
        "space": _space(data.task),
        "search": {
            "algorithm": "tpe",
            "samples": SAMPLES,
            **({"objectives": _without_losses()} if whole_class and lacks_reference else {}),
        },
    }
    head = {"name": name, "data": sections.pop("data"), "forget": dict(request.section)}
    comments = {"forget": request.comment, "space": "what is searched; grids are crossed", **comments}
    if not lacks_reference:
        comments["stop"] = "a trial ends once it has forgotten as much as the reference"
    return Proposal({**head, **sections, **tail}, comments, findings)


Parts = tuple[dict[str, Any], dict[str, str], list[Finding]]


def _vision(model: Model, data: Data, base: str | None) -> Parts:
    section: dict[str, Any] = data.section.model_dump(mode="json", exclude_defaults=True)
    section = {"name": data.section.name, **section}
    findings: list[Finding] = []
    if model.embedded:
        if not data.embedded and len(data.image_sizes) > 1:
            section["image_size"] = SIDE
            findings.append(Finding("images", f"of different sizes: all are resized to {SIDE}x{SIDE}"))
        if not data.embedded and data.is_grey:
            section |= {"mean": [0.5], "std": [0.5]}
        training: dict[str, Any] = {
            "epochs": 25,
            "batch_size": 128,
            "optimizer": {"learning_rate": 2e-3, "schedule": "cosine"},
        }
        own = {
            "data": section,
            "model": {"name": model.name},
            "training": training,
            "reference": {"source": "train"},
        }
        return own, {"training": "of the original, and of the reference without the forget set"}, findings
    if not model.has_preprocessor and model.image_size:
        section["image_size"] = model.image_size
    training = {"epochs": 5, "batch_size": 32, "optimizer": {"learning_rate": 1e-4}}
    try:
        order_of(data.class_names, Checkpoint("model.name", model.name))
    except ValueError as error:
        findings.append(Finding("classes", f"{error}; the search space requests one (model.new_head)", True))
        sections = {"data": section, "model": {"name": model.name, "new_head": True}, "training": training}
        comments = {
            "model": "a backbone: the original and the reference are trained from it, with a new head"
        }
        return {**sections, "reference": {"source": "train"}}, comments, findings
    reference, about = _reference(base)
    if base is not None:
        reference["new_head"] = _needs_head(base, data)
    sections = {
        "data": section,
        "model": {"name": model.name},
        "original": {"path": model.name},
        "training": training,
        "reference": reference,
    }
    return sections, _of_a_given_original(about), findings


def _needs_head(base: str, data: Data) -> bool:
    try:
        order_of(data.class_names, Checkpoint("reference.start", base))
    except ValueError:
        return True
    return False


def _language(model: Model, data: Data, base: str | None) -> Parts:
    section = _texts(data)
    section["max_length"] = min(model.whole.context or LONGEST, LONGEST)
    if model.embedded:
        training: dict[str, Any] = {"epochs": 20, "optimizer": {"learning_rate": 1e-3}}
        own = {
            "data": section,
            "model": {"name": model.name},
            "training": training,
            "reference": {"source": "train"},
        }
        return own, {"training": "of the original, and of the reference without the forget set"}, []
    reference, about = _reference(base)
    network: dict[str, Any] = {"name": model.whole.name}
    training = {"epochs": 5}
    if model.base:
        network["lora"] = {}
        training["parameters"] = "lora"
    elif (model.parameters or 0) > LARGE:
        network["lora"] = {"rank": 8, "alpha": 16}
    sections = {
        "data": section,
        "model": network,
        "original": {"path": model.name},
        "training": training,
        "reference": reference,
    }
    return sections, _of_a_given_original(about), []


def _texts(data: Data) -> dict[str, Any]:
    """Return the `data` section of texts."""
    if data.tofu_layout:
        return {
            "name": "tofu",
            "path": data.place,
            "layout": data.tofu_layout,
            "subset": data.tofu_subsets[-1],
        }
    if data.answers is None:
        raise ValueError(f"data: {data.path} has no column of texts; it has {', '.join(data.features)}")
    train = next((name for name in ("retain", data.train) if name in data.splits), data.train)
    return {
        "name": "text",
        "path": data.place,
        **({"subset": data.subset} if data.subset else {}),
        "train_split": train,
        **({"test_split": data.test} if data.test else {}),
        "question_column": data.questions,
        "answer_column": data.answers,
    }


def _reference(base: str | None) -> tuple[dict[str, Any], str]:
    """Return the `reference` section, and a comment on it."""
    if base is not None:
        return {"start": base}, "trained without the forget set, from weights that never saw it"
    return (
        {"source": "none"},
        "none: the original's losses on test data stand for it. Better: weights that never saw the data,\n"
        "# such as the pretrained base, with `reference: {start: BASE}` (doctor --base BASE)",
    )


def _of_a_given_original(about: str) -> dict[str, str]:
    original = (
        "the model is taken to be trained on these data; without this section it is trained on them first"
    )
    return {"original": original, "reference": about}


def _without_losses() -> list[dict[str, str]]:
    return [{"metric": "forget_accuracy_quality"}, {"metric": "retain_utility"}]


def _workers(machine: Machine) -> dict[str, Any]:
    """Return a worker per objective; two of them share a GPU if there is only one."""
    if not machine.gpus:
        return {"count": 2 if machine.cores > 1 else 1, "cpus": 1}
    return {"count": 2, "cpus": 1, "gpus": 1 if len(machine.gpus) > 1 else 0.5}


def _space(task: str) -> dict[str, Any]:
    return {
        "method.name": {"grid": METHODS[task]},
        "optimizer.learning_rate": {"loguniform": LEARNING_RATES[task]},
        "method.constraint_fraction": [
            {"uniform": [0.2, 0.3], "when": {"method.name": "hamu-q"}},
            {"uniform": [0.75, 0.85], "when": {"method.name": "hamu-u"}},
        ],
    }


def differing_tasks(model: Model, data: Data) -> Iterator[Finding]:
    """Yield a problem if the model is for images and the data are texts, or the other way round."""
    if model.task not in (None, data.task):
        kinds = {"vision": "images", "language": "texts"}
        text = (
            f"{model.name} is a model of {kinds[model.task or data.task]}, {data.path} has {kinds[data.task]}"
        )
        yield Finding("model", f"{text}; give data and model of one kind", True)
