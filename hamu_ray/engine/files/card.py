"""The model card of an unlearned model."""

from collections.abc import Mapping, Sequence

import yaml

from hamu_ray.config.run import RunConfig
from hamu_ray.metrics.measured import Measures
from hamu_ray.results.folder import FORGET_FILE, PROVENANCE_FILE
from hamu_ray.results.outcome import NO_REFERENCE, Outcome
from hamu_ray.results.provenance import Provenance
from hamu_ray.results.wording import capitalised, words


def model_card(
    run: RunConfig,
    outcome: Outcome,
    bases: Mapping[str, Measures],
    hardness: Sequence[str],
    provenance: Provenance,
    loading: str,
) -> str:
    """Return a model card in the hub's format: data, method, hyperparameters, and metrics compared with the ``bases``.

    ``hardness`` contains the sentences of `hamu_ray.results.hardness` about the run, ``provenance`` where the model
    comes from, ``loading`` is Python code that loads the model.
    """
    head = {"library_name": "hamu_ray", "tags": ["machine-unlearning", run.method.name]}
    columns = {"unlearned": outcome.measures, **bases}
    names = {name: None for measures in columns.values() for name in measures}
    rows = [
        f"| {name} | {' | '.join(_number(measures.get(name)) for measures in columns.values())} |"
        for name in names
    ]
    what = ("data", "forget", "model", "training", "original", "reference")
    how = ("method", "optimizer", "batch", "duration", "seed")
    settings = run.model_dump(mode="json", by_alias=True, include={*what, *how})
    reference = (
        f" The reference is a model trained without the forget set: it {outcome.reference_origin}."
        if outcome.reference_kind not in NO_REFERENCE
        else f" The reference {outcome.reference_origin}."
    )
    gate = f" **{capitalised(outcome.nothing_to_forget)}.**" if outcome.nothing_to_forget else ""
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
            f"# {run.name}",
            "",
            f"A {run.data.task} model ({run.model.name}) that was trained on {run.data.name} and has unlearned a "
            f"part of it by `{run.method.name}` in {outcome.steps} steps ({outcome.seconds:.1f} s). "
            f"It ended {outcome.status}: {outcome.reason}.",
            "",
            f"The original model is the one before unlearning.{reference}{gate}",
            *_of_the_steps(outcome, hardness),
            "",
            f"| | {' | '.join(columns)} |",
            f"|---|{'---:|' * len(columns)}",
            *rows,
            "",
            "## How to load it",
            "",
            f"```python\n{loading}```",
            "",
            "## Provenance",
            "",
            "| | |",
            "|---|---|",
            *(f"| {words(name)} | {text} |" for name, text in provenance.labels().items() if text),
            "",
            f"{PROVENANCE_FILE} has all of it, {FORGET_FILE} the {provenance.forget_count} examples to forget by hash; "
            "`python -m hamu_ray.certify` makes a signed certificate of them.",
            "",
            "## Settings",
            "",
            f"```yaml\n{yaml.safe_dump(settings, sort_keys=False)}```",
            "",
        ]
    )


def _of_the_steps(outcome: Outcome, hardness: Sequence[str]) -> list[str]:
    """Return a paragraph on the method's guarantee and on the hardness of the problem."""
    guarantee = {
        None: [],
        True: ["Guaranteed: every step was within the method's first-order guarantee."],
        False: [
            f"Not guaranteed: {outcome.steps_outside_guarantee} of {outcome.steps} steps were outside the method's "
            "first-order guarantee."
        ],
    }[outcome.guaranteed]
    sentences = [*guarantee, *hardness]
    return ["", " ".join(sentences)] if sentences else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
