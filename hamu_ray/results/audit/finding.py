"""A number of an attack on a model, beside those of the original and of the references."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hamu_ray.metrics.attacks.names import BITS, DURABLE, PARAPHRASED, RELEARNING_AREA, quantised
from hamu_ray.metrics.attacks.spread import Spread
from hamu_ray.results.wording import NONE, number

DECIDES_DURABLE = (RELEARNING_AREA, *(quantised(bits) for bits in BITS))
"""The numbers by which a model is durable: what the references have after the same attacks. Those of `PARAPHRASED` join
them where the data have other wordings."""
UNKNOWN = Spread(math.nan, math.nan, math.nan, 0)
"""The spread of no reference."""


@dataclass(frozen=True)
class Finding:
    """A number of an attack; see `hamu_ray.metrics.attacks.names`."""

    metric: str
    value: float
    """Of the audited model; NaN where undefined."""
    original: float = math.nan
    """The same of the original model in its place."""
    references: Spread = UNKNOWN
    """The same of each reference in its place."""
    passes: bool | None = None
    """Whether it is as a reference's; None for numbers that decide nothing, and where that is not known."""
    reason: str = ""
    """Why it is undefined, or not decided."""

    @property
    def verdict(self) -> str:
        """Whether the model is like a reference, in words."""
        return {True: "as R", False: "unlike R", None: NONE}[self.passes]

    @property
    def interval(self) -> str:
        """The mean over the references with the 95 % prediction interval of one more."""
        spread = self.references
        if math.isnan(spread.low):
            return number(spread.mean)
        return f"{number(spread.mean)} [{number(spread.low)}, {number(spread.high)}]"

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data for JSON, without its name."""
        *interval, count = self.references
        known = dict(zip(("mean", "low", "high"), map(finite_or_none, interval), strict=True))
        return {
            "value": finite_or_none(self.value),
            "original": finite_or_none(self.original),
            "references": {**known, "references": count},
            "passes": self.passes,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class AttackResult:
    """The result of one attack on one model."""

    attack: str
    key: str
    """Hash of the model and of everything else that it depends on."""
    findings: tuple[Finding, ...]
    seconds: float
    curves: Mapping[str, list[float]]
    """Forget confidence by step of relearning: ``model``, and ``reference 0``, ``reference 1``, ..."""


@dataclass(frozen=True)
class Audit:
    """The results of the attacks on one model."""

    model: str
    """SHA-256 of its weights."""
    attacks: Mapping[str, AttackResult]

    @property
    def findings(self) -> list[Finding]:
        """The findings of all attacks, in order."""
        return [finding for result in self.attacks.values() for finding in result.findings]

    @property
    def durable(self) -> bool | None:
        """Whether attacks bring back no more than they bring to R; None if not known."""
        return durable(self.findings)

    @property
    def metrics(self) -> dict[str, float]:
        """All defined numbers by name, `DURABLE` among them."""
        known = {finding.metric: finding.value for finding in self.findings if math.isfinite(finding.value)}
        return known if self.durable is None else {**known, DURABLE: float(self.durable)}

    def as_document(self) -> dict[str, Any]:
        """Return it as plain data for JSON, with null for undefined numbers."""
        results = {}
        for name, result in self.attacks.items():
            findings = {finding.metric: finding.as_document() for finding in result.findings}
            curves = {curve: list(values) for curve, values in result.curves.items()}
            results[name] = {
                "findings": findings,
                "curves": curves,
                "seconds": result.seconds,
                "key": result.key,
            }
        return {"model": self.model, "durable": self.durable, "attacks": results}


def audit_of(document: Mapping[str, Any]) -> Audit:
    """Return the audit of an `Audit.as_document`."""
    attacks = {}
    for name, result in document["attacks"].items():
        findings = tuple(finding_of(metric, found) for metric, found in result["findings"].items())
        attacks[name] = AttackResult(name, **{**result, "findings": findings})
    return Audit(document["model"], attacks)


def finding_of(metric: str, document: Mapping[str, Any]) -> Finding:
    """Return the finding of a `Finding.as_document`."""
    known = document["references"]
    mean, low, high = (number_or_nan(known[key]) for key in ("mean", "low", "high"))
    value, original = (number_or_nan(document[key]) for key in ("value", "original"))
    spread = Spread(mean, low, high, known["references"])
    return Finding(metric, value, original, spread, document["passes"], document["reason"])


def finite_or_none(value: float) -> float | None:
    """Return a number, or None if it is not finite, which JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def number_or_nan(value: float | None) -> float:
    """Return what `finite_or_none` was given, NaN for infinite numbers too."""
    return math.nan if value is None else value


def durable(findings: Iterable[Finding]) -> bool | None:
    """Return whether what attacks bring back is no more than they bring to R; None unless all of them are decided."""
    known = {finding.metric: finding for finding in findings}
    decided = {name: finding.passes for name, finding in known.items()}
    reworded = [name for name in PARAPHRASED.values() if name in known and known[name].references.references]
    needed = [decided.get(name) for name in (*DECIDES_DURABLE, *reworded)]
    if False in needed:
        return False
    return None if None in needed else True
