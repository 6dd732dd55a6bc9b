"""The attacks by name, and an audit: the requested ones, each found again if nothing that it depends on changed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hamu_ray.auditing.evidence import Evidence
from hamu_ray.auditing.inference import (
    klom_findings,
    lira_findings,
    relative_findings,
    rmia_findings,
    ulira_findings,
)
from hamu_ray.auditing.lasting import (
    VERSION,
    Curves,
    paraphrase_findings,
    prefix_findings,
    quantisation_findings,
    relearning_findings,
    rewordings,
)
from hamu_ray.engine.files.store import key_of
from hamu_ray.metrics.attacks import names
from hamu_ray.metrics.measured import DEFINITIONS
from hamu_ray.results.audit.file import read_audit, write_audit
from hamu_ray.results.audit.finding import VERDICTS, AttackResult, Audit, Finding

Findings = tuple[list[Finding], Curves]


def _without_curves(find: Callable[[Evidence], list[Finding]]) -> Callable[[Evidence], Findings]:
    return lambda evidence: (find(evidence), {})


FIND: Mapping[str, Callable[[Evidence], Findings]] = {
    names.LIRA: _without_curves(lira_findings),
    names.ULIRA: _without_curves(ulira_findings),
    names.RMIA: _without_curves(rmia_findings),
    names.KLOM: _without_curves(klom_findings),
    names.RELATIVE_TEST: _without_curves(relative_findings),
    names.RELEARNING: relearning_findings,
    names.QUANTISATION: quantisation_findings,
    names.PARAPHRASE: paraphrase_findings,
    names.PREFIX: prefix_findings,
}
"""What each attack of `names.ATTACKS` finds."""


def audit_model(evidence: Evidence, attacks: Sequence[str]) -> Audit:
    """Run attacks on a model, write each result into its folder as soon as it is there, and return all.

    Results of the same model, originals and references are not computed again; those of other attacks are kept.
    """
    audit = read_audit(evidence.folder, evidence.model)
    for attack in attacks:
        key = key_of(recipe(evidence, attack))
        known = audit.attacks.get(attack)
        if known is not None and known.key == key:
            continue
        began = time.perf_counter()
        findings, curves = FIND[attack](evidence)
        result = AttackResult(attack, key, tuple(findings), time.perf_counter() - began, curves)
        results = {**audit.attacks, attack: result}
        audit = replace(audit, attacks={name: results[name] for name in names.ATTACKS if name in results})
        write_audit(evidence.folder, audit)
    return audit


def recipe(evidence: Evidence, attack: str) -> dict[str, object]:
    """Return everything that determines what an attack finds, as plain data."""
    where = {"name", "workers", "storage", "tracking", "checkpoint", "evaluation", "original", "reference"}
    return {
        "attack": attack,
        "version": VERSION,
        "verdicts": VERDICTS,
        "definitions": DEFINITIONS,
        "model": evidence.model,
        "originals": [stored.key for stored in evidence.originals],
        "references": [stored.key for stored in evidence.references],
        "run": evidence.run.model_dump(mode="json", exclude=where),
        **({"wordings": dict(rewordings(evidence.task, attack))} if attack in names.WORDINGS else {}),
    }
