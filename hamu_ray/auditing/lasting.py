"""Attacks that bring knowledge back: relearning, quantisation, and asking in another way.

What they do to a base model is stored beside it, and found again by every audit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from hamu_ray.auditing.evidence import Evidence
from hamu_ray.auditing.inference import FEW, NO_REFERENCE, judged, undefined
from hamu_ray.auditing.losses import confidence
from hamu_ray.auditing.quantisation import confidences
from hamu_ray.auditing.relearning import KNOWN_AGAIN, STEPS, area, forget_parts, relearn, steps_to
from hamu_ray.config.run import RunConfig
from hamu_ray.engine.files.store import StoredModel, key_of
from hamu_ray.metrics.attacks import names
from hamu_ray.metrics.attacks.spread import FRACTION, Spread, spread
from hamu_ray.metrics.undefined import Undefined
from hamu_ray.results.audit.finding import TOLERANCE, Finding
from hamu_ray.results.durable.sealed import Damaged, read_sealed, write_sealed
from hamu_ray.storage import StoragePath
from hamu_ray.tasks.items import Reworded
from hamu_ray.tasks.task import Task

VERSION = 1
"""Increase it when an attack changes; results of earlier ones are computed again."""

NO_WORDINGS = Undefined("the data give no other wordings of it for the examples to forget")

NO_PREFIX = Undefined(
    "the texts to forget have no questions, or no room for answers after a prefix within data.max_length"
)

Curves = Mapping[str, list[float]]


def relearning_findings(evidence: Evidence) -> tuple[list[Finding], Curves]:
    """Return area and steps of relearning the model beside those of relearning each reference, and the curves."""
    enough = known_again(evidence)
    curves = {"model": relearn(evidence.run, evidence.task, evidence.unlearned(), enough)}
    for number, stored in enumerate(evidence.references):
        curves[f"reference {number}"] = relearned_base(evidence, stored)
    model, *others = curves.values()
    areas, steps = ([measure(one, enough) for one in others] for measure in (area, steps_to))
    found = _brought_back(names.RELEARNING_AREA, area(model, enough), 1.0, spread(areas, FRACTION))
    needed = steps_to(model, enough)
    return [
        found,
        Finding(names.RELEARNING_STEPS, needed, 0.0, spread(steps), reason=found.reason),
    ], curves


def quantisation_findings(evidence: Evidence) -> tuple[list[Finding], Curves]:
    """Return the forget confidence before and after rounding, beside the original's and the references'."""
    model = confidences(evidence.run, evidence.task, evidence.unlearned())
    original = rounded_base(evidence, evidence.originals[0])
    others = [rounded_base(evidence, stored) for stored in evidence.references]
    findings = []
    for place, name in enumerate([names.FORGET_CONFIDENCE, *map(names.quantised, names.BITS)]):
        among = spread([values[place] for values in others], FRACTION)
        findings.append(_brought_back(name, model[place], original[place], among))
    for place, bits in enumerate(names.BITS, start=1):
        among = spread([values[place] - values[0] for values in others])
        gain, of_original = model[place] - model[0], original[place] - original[0]
        findings.append(Finding(names.quantisation_gain(bits), gain, of_original, among))
    return findings, {}


def paraphrase_findings(evidence: Evidence) -> tuple[list[Finding], Curves]:
    """Return the confidence on other wordings of the forget set, beside the original's and the references'."""
    return _wording_findings(evidence, names.PARAPHRASE, NO_WORDINGS), {}


def prefix_findings(evidence: Evidence) -> tuple[list[Finding], Curves]:
    """Return the confidence after a prefix on the forget set, beside the original's and the references'."""
    return _wording_findings(evidence, names.PREFIX, NO_PREFIX), {}


def _wording_findings(evidence: Evidence, attack: str, missing: Undefined) -> list[Finding]:
    kinds = list(rewordings(evidence.task, attack))
    model = wording_confidences(evidence.task, evidence.unlearned(), attack) if kinds else []
    original = reworded_base(evidence, evidence.originals[0], attack)
    others = [reworded_base(evidence, stored, attack) for stored in evidence.references]
    findings = []
    for kind, name in names.WORDINGS[attack].items():
        if kind not in kinds:
            findings.append(undefined(name, missing))
            continue
        place = kinds.index(kind)
        among = spread([values[place] for values in others], FRACTION)
        findings.append(_brought_back(name, model[place], original[place], among))
    return findings


def rewordings(task: Task, attack: str) -> Mapping[str, str]:
    """Return the hash of an attack's wordings by what they change; empty without any."""
    return task.items.rewordings(attack) if isinstance(task.items, Reworded) else {}


def wording_confidences(task: Task, model: nn.Module, attack: str) -> list[float]:
    """Return the mean confidence on an attack's wordings of each kind, in order of `rewordings`."""
    assert isinstance(task.items, Reworded)
    return [confidence(losses) for losses in task.items.rewording_losses(model, attack).values()]


def reworded_base(evidence: Evidence, stored: StoredModel, attack: str) -> list[float]:
    """Return the confidences of a base model on an attack's wordings, computed once; empty without any."""
    wordings = rewordings(evidence.task, attack)
    if not wordings:
        return []
    recipe = {"wordings": dict(wordings)}
    return _once(
        evidence,
        stored,
        attack,
        recipe,
        lambda run, model: wording_confidences(evidence.task, model, attack),
    )


def _brought_back(name: str, value: float, original: float, among: Spread) -> Finding:
    """Return the finding of a confidence, of which less than a reference's is no leak."""

    def passes(number: float) -> bool | None:
        return among.reaches(number, TOLERANCE)

    reason = "" if passes(value) is not None else FEW if among.references else NO_REFERENCE.reason
    return judged(name, value, original, among, passes, reason)


def known_again(evidence: Evidence) -> float:
    """Return the confidence at which the rest of the forget set counts as known again: half of the original's."""
    parts = forget_parts(len(evidence.task.splits["forget"]), evidence.run.training_seed)
    return KNOWN_AGAIN * confidence(evidence.original_losses[0].forget[parts.measured.numpy()])


def relearned_base(evidence: Evidence, stored: StoredModel) -> list[float]:
    """Return the curve of relearning a base model, computed once for all models with the same original."""
    enough = known_again(evidence)
    recipe = {"training": evidence.run.training.model_dump(mode="json"), "enough": enough, "steps": STEPS}
    return _once(
        evidence,
        stored,
        names.RELEARNING,
        recipe,
        lambda run, model: relearn(run, evidence.task, model, enough),
    )


def rounded_base(evidence: Evidence, stored: StoredModel) -> list[float]:
    """Return the confidences of a base model before and after rounding, computed once."""
    recipe = {"bits": names.BITS}
    return _once(
        evidence,
        stored,
        names.QUANTISATION,
        recipe,
        lambda run, model: confidences(run, evidence.task, model),
    )


def _once(
    evidence: Evidence,
    stored: StoredModel,
    attack: str,
    recipe: Mapping[str, Any],
    compute: Callable[[RunConfig, nn.Module], list[float]],
) -> list[float]:
    """Return what an attack gives for a base model, from its file beside the model if it was computed before."""
    lora = evidence.run.model.model_dump(mode="json").get("lora")
    whole = {**recipe, "version": VERSION, "seed": evidence.run.training_seed, "lora": lora}
    place: StoragePath = evidence.store.root / stored.key / f"{attack}-{key_of(whole)}.json"
    try:
        return list(read_sealed(place)["values"])
    except (FileNotFoundError, Damaged):
        values = compute(evidence.run, evidence.base(stored))
    write_sealed(place, {"values": values, "recipe": whole})
    return values
