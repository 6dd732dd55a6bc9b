"""Membership attacks and tests that need no more than losses: the model's, and each reference's in its place."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hamu_ray.auditing.evidence import Evidence, Losses
from hamu_ray.metrics.attacks import names
from hamu_ray.metrics.attacks.klom import klom
from hamu_ray.metrics.attacks.lira import lira, lira_online, ulira
from hamu_ray.metrics.attacks.relative import relative_test
from hamu_ray.metrics.attacks.rmia import rmia
from hamu_ray.metrics.attacks.spread import FRACTION, Spread, spread
from hamu_ray.metrics.measured import Measures
from hamu_ray.metrics.undefined import Undefined, reasons
from hamu_ray.results.audit.finding import UNKNOWN, Finding

Attack = Callable[[Losses, Sequence[Losses]], Measures]
"""Takes the losses of the attacked model, and of the references that the attacker has."""

SIGNIFICANT = 0.05
"""The relative test fails from this p-value on."""

SPLITS = 20
"""Number of draws of references that KLoM compares with the others."""

UPPER = (names.LIRA_TPR, names.LIRA_ONLINE_TPR, names.ULIRA_TPR, names.RMIA_TPR, names.KLOM_P95)
"""Numbers of which less than a reference's is no leak."""


def lira_findings(evidence: Evidence) -> list[Finding]:
    """Return LiRA's numbers, offline and online, with one reference after the other in the model's place."""
    known = evidence.reference_losses

    def offline(attacked: Losses, others: Sequence[Losses]) -> Measures:
        return lira(attacked.forget, attacked.test, on_forget(others), on_test(others))

    def online(attacked: Losses, others: Sequence[Losses]) -> Measures:
        originals = [one for one in evidence.original_losses if one is not attacked]
        return lira_online(attacked.forget, on_forget(originals), on_forget(others))

    return [*compared(evidence, offline, known), *compared(evidence, online, known)]


def ulira_findings(evidence: Evidence) -> list[Finding]:
    """Return U-LiRA's numbers, with one reference after the other in the model's place."""
    if evidence.is_interpolated:
        return [undefined(name, INTERPOLATED) for name in (names.ULIRA_AUC, names.ULIRA_TPR)]
    shadows = on_forget(evidence.shadow_losses) if evidence.references else np.empty((0, 0))

    def attack(attacked: Losses, others: Sequence[Losses]) -> Measures:
        return ulira(attacked.forget, shadows, on_forget(others))

    return compared(evidence, attack, evidence.reference_losses)


def rmia_findings(evidence: Evidence) -> list[Finding]:
    """Return RMIA's numbers with the first reference, and with the others in the model's place."""

    def attack(attacked: Losses, others: Sequence[Losses]) -> Measures:
        return rmia(attacked.forget, attacked.test, others[0].forget, others[0].test)

    return compared(evidence, attack, evidence.reference_losses)


def relative_findings(evidence: Evidence) -> list[Finding]:
    """Return the relative test's p-value, which is exact: references need not take the model's place."""
    references = on_forget(evidence.reference_losses)
    if not evidence.references:
        return [undefined(names.RELATIVE_P, NO_REFERENCE), undefined(names.RELATIVE_SMALLEST_P, NO_REFERENCE)]
    found = relative_test(evidence.model_losses.forget, references)
    original = relative_test(evidence.original_losses[0].forget, references)
    p_value, smallest = found[names.RELATIVE_P], found[names.RELATIVE_SMALLEST_P]
    reason = reasons(found).get(names.RELATIVE_P, "")
    decided = smallest <= SIGNIFICANT
    if not decided and not reason:
        reason = f"{len(references)} references allow no p-value below {smallest:.2f}; 19 allow {SIGNIFICANT}"
    beside = original[names.RELATIVE_P]
    tested = judged(
        names.RELATIVE_P, p_value, beside, UNKNOWN, lambda p: p > SIGNIFICANT if decided else None, reason
    )
    return [tested, Finding(names.RELATIVE_SMALLEST_P, smallest, reason=reason)]


def klom_findings(evidence: Evidence) -> list[Finding]:
    """Return KLoM of the model's seeds, and of as many references against the others.

    As estimates from few models are biased, all are compared with the same references: those left by draws of as many
    references as there are unlearned models.
    """
    if evidence.is_interpolated or not evidence.references:
        return [undefined(names.KLOM_P95, INTERPOLATED if evidence.is_interpolated else NO_REFERENCE)]
    models = [evidence.model_losses.forget, *on_forget(evidence.shadow_losses)]
    references = on_forget(evidence.reference_losses)
    size = min(len(models), len(references) // 2)
    if size < 2:
        found = klom(np.stack(models), references)[names.KLOM_P95]
        problem = (
            found if isinstance(found, Undefined) else Undefined("it takes 4 references; set reference.seeds")
        )
        return [undefined(names.KLOM_P95, problem)]
    rows: list[list[float]] = []
    for draw in range(SPLITS):
        order = np.random.default_rng((evidence.run.training_seed, draw)).permutation(len(references))
        drawn, rest = references[order[:size]], references[order[size:]]
        originals = on_forget(evidence.original_losses)
        compared_sets = (np.stack(models)[:size], drawn, originals[:size] if len(originals) > 1 else None)
        rows.append([math.nan if one is None else klom(one, rest)[names.KLOM_P95] for one in compared_sets])
    values = np.asarray(rows, dtype=np.float64)
    among = spread(values[:, 1])
    value, original = values[:, 0].mean(), values[:, 2].mean()
    return [judged(names.KLOM_P95, float(value), float(original), among, among.reaches)]


def compared(evidence: Evidence, attack: Attack, references: Sequence[Losses]) -> list[Finding]:
    """Return the numbers of an attack on the model, beside those of the original and of each reference in its place."""
    found = attack(evidence.model_losses, references) if references else {}
    if not references:
        empty = Losses(np.empty(0), np.empty(0))
        return [undefined(name, NO_REFERENCE) for name in attack(empty, [empty])]
    original = attack(evidence.original_losses[0], references)
    rows = []
    if len(references) > 1:
        rows = [attack(one, [other for other in references if other is not one]) for one in references]
    findings = []
    for name, value in found.items():
        among = spread([row[name] for row in rows], FRACTION)
        passes = among.reaches if name in UPPER else among.contains
        reason = reasons(found).get(name, "") or ("" if passes(value) is not None else FEW)
        findings.append(judged(name, value, original[name], among, passes, reason))
    return findings


def judged(
    name: str,
    value: float,
    original: float,
    among: Spread,
    passes: Callable[[float], bool | None],
    reason: str = "",
) -> Finding:
    """Return the finding of a number that passes or not.

    Passing decides nothing where the original would pass, too, or where it is not known whether it would.
    """
    verdict = passes(value)
    if verdict and (of_original := passes(original)) is not False:
        return Finding(name, value, original, among, None, NO_POWER if of_original else UNKNOWN_POWER)
    return Finding(name, value, original, among, verdict, reason)


def undefined(name: str, reason: Undefined) -> Finding:
    """Return a finding without a value."""
    return Finding(name, reason, reason=reason.reason)


def on_forget(models: Sequence[Losses]) -> np.ndarray:
    """Return the losses on the forget set, ``(models, n)``."""
    return np.stack([model.forget for model in models]) if models else np.empty((0, 0))


def on_test(models: Sequence[Losses]) -> np.ndarray:
    """Return the losses on test examples, ``(models, m)``."""
    return np.stack([model.test for model in models]) if models else np.empty((0, 0))


NO_POWER = "the original would pass, too, so that it shows nothing; set more reference.seeds"
UNKNOWN_POWER = (
    "whether the original would pass is not known, so that it shows nothing; set original.seeds to 3"
)
NO_REFERENCE = Undefined("there is no reference")
INTERPOLATED = Undefined("the model lies between two others, which no run makes with other seeds")
FEW = "the references are too few for an interval of one more; set reference.seeds"
