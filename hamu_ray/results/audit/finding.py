"""A number of an attack on a model, beside those of the original and of the references."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hamu_ray.metrics.attacks.names import (
    BITS,
    DURABILITY,
    DURABLE,
    RELEARNING_AREA,
    WORDINGS,
    quantised,
)
from hamu_ray.metrics.attacks.spread import Spread
from hamu_ray.results.wording import NONE, number

DECIDES_DURABLE = (RELEARNING_AREA, *(quantised(bits) for bits in BITS))
"""The numbers by which a model is durable: what the references have after the same attacks. Those of `REWORDED` join
them where the data have other wordings, or are texts."""
REWORDED = tuple(name for kinds in WORDINGS.values() for name in kinds.values())
VERDICTS = 3
"""Increase it when results are judged in another way; what was done to models of earlier ones is kept."""
TOLERANCE = 0.01
"""Differences in confidence, and in its area, that do not count as knowledge."""
UNKNOWN = Spread(math.nan, math.nan, math.nan, 0)
"""The spread of no reference."""


EARLIER = "judged by the rules of an earlier version; run the audit again"
"""Why a number of an earlier audit decides nothing."""


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
    verdicts: int = VERDICTS
    """The rules by which it was judged."""

    @property
    def today(self) -> "AttackResult":
        """The result without verdicts by earlier rules than today's."""
        if self.verdicts == VERDICTS:
            return self
        return replace(
            self, findings=tuple(replace(one, passes=None, reason=EARLIER) for one in self.findings)
        )


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
    def deciding(self) -> list[str]:
        """The attacks by which the model is durable, or not; none if that is not known."""
        return [] if self.durable is None else self.lasting(passes=self.durable)

    @property
    def today(self) -> "Audit":
        """The audit without verdicts by earlier rules than today's."""
        return replace(self, attacks={name: result.today for name, result in self.attacks.items()})

    def lasting(self, *, passes: bool) -> list[str]:
        """Return the attacks that try to bring knowledge back of which a number decides so; not those that show
        nothing."""
        deciding = {*DECIDES_DURABLE, *REWORDED}
        return [
            name
            for name, result in self.attacks.items()
            if any(
                found.metric in deciding and found.passes is passes and _shows(found)
                for found in result.findings
            )
        ]

    @property
    def durability(self) -> float:
        """`durability` of the findings."""
        return durability(self.findings)

    @property
    def metrics(self) -> dict[str, float]:
        """All defined numbers by name, `DURABILITY` and `DURABLE` among them."""
        values = {finding.metric: finding.value for finding in self.findings}
        values |= {
            DURABILITY: self.durability,
            DURABLE: math.nan if self.durable is None else float(self.durable),
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}

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
                "verdicts": result.verdicts,
            }
        lasting = {"durability": finite_or_none(self.durability), "durable": self.durable}
        return {"model": self.model, **lasting, "attacks": results}


def audit_of(document: Mapping[str, Any]) -> Audit:
    """Return the audit of an `Audit.as_document`."""
    attacks = {}
    for name, result in document["attacks"].items():
        findings = tuple(finding_of(metric, found) for metric, found in result["findings"].items())
        attacks[name] = AttackResult(name, **{"verdicts": 0, **result, "findings": findings})
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
    """Return whether what attacks bring back is no more than they bring to R; None unless all of them are decided.

    Attacks in which neither the original nor the model is above the references show nothing, and do not count; None if
    all are such.
    """
    found = _lasting(findings)
    passes = [finding.passes if finding else None for finding in found if not finding or _shows(finding)]
    if False in passes:
        return False
    return True if passes and None not in passes else None


def durability(findings: Iterable[Finding]) -> float:
    """Return how much of what is gone stays gone under attack, in 0..1: 1 for a model that is durable.

    Each number of an attack is placed between the most that one more reference has (0; the references' mean if there is
    only one) and the original's (1), and the largest is taken from 1. Numbers in which neither the original nor the
    model is above that show nothing. NaN if all show nothing, and unless all of `DECIDES_DURABLE` are known.
    """
    found = _lasting(findings)
    if any(finding is None or math.isnan(finding.value + _room(finding)) for finding in found):
        return math.nan
    leads = [_lead(finding) for finding in found if finding is not None and _shows(finding)]
    return 1.0 - max(leads) if leads else math.nan


def _most(finding: Finding) -> float:
    """Return the most that one more reference has: the end of the interval, or the only reference's number."""
    mean, _, high, _ = finding.references
    return mean if math.isnan(high) else high


def _room(finding: Finding) -> float:
    """Return how far the original is above the references."""
    return finding.original - _most(finding)


def _shows(finding: Finding) -> bool:
    """Whether the original or the model is above the references; so too if that is unknown."""
    most = _most(finding)
    return not (finding.original - most <= TOLERANCE and finding.value - most <= TOLERANCE)


def _lead(finding: Finding) -> float:
    """Return the place of a number between the references' most (0) and the original's (1)."""
    above = finding.value - _most(finding)
    return min(above / max(_room(finding), TOLERANCE), 1.0) if above > TOLERANCE else 0.0


def _lasting(findings: Iterable[Finding]) -> list[Finding | None]:
    """Return the findings that decide whether a model is durable; None for those that are missing."""
    known = {finding.metric: finding for finding in findings}
    reworded = [name for name in REWORDED if name in known and known[name].references.references]
    return [known.get(name) for name in (*DECIDES_DURABLE, *reworded)]
