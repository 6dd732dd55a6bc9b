"""The attacks on the models of the front, for the page."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hamu_ray.metrics.attacks.names import ATTACK
from hamu_ray.reports.analysis.problems import Problem, SeedGroup
from hamu_ray.results.audit.file import load_audit
from hamu_ray.results.audit.finding import Audit, Finding
from hamu_ray.results.durable.sealed import Damaged
from hamu_ray.results.folder import AUDIT_FILE
from hamu_ray.results.wording import NONE, number, words

logger = logging.getLogger(__name__)

ASIDE = ("relative_test_smallest_p",)
"""Numbers that are not shown for each point."""


@dataclass(frozen=True)
class Cell:
    """A number of an attack on a model, with the interval of the references."""

    text: str
    value: float
    interval: str
    verdict: str


@dataclass(frozen=True)
class AuditRow:
    """The attacks on a point of the front."""

    group: SeedGroup
    durable: str
    cells: list[Cell]


@dataclass(frozen=True)
class AuditTable:
    """The attacks on the front: a column for each number, a row for each audited point."""

    columns: list[tuple[str, str]]
    """Names as words, and definitions."""
    rows: list[AuditRow]
    reasons: list[str]
    """Why numbers are undefined or decide nothing."""


def audit_table(problem: Problem) -> AuditTable | None:
    """Return the attacks on the front's points, of a point with several seeds on the first; None without any."""
    found = [(one, audit_of(one)) for one in reversed(problem.front)]
    audits = [(one, audit) for one, audit in found if audit is not None]
    if not audits:
        return None
    present = {finding.metric for _, audit in audits for finding in audit.findings}
    names = [name for name in ATTACK if name in present and name not in ASIDE]
    rows = []
    for one, audit in audits:
        findings = {finding.metric: finding for finding in audit.findings}
        cells = [cell_of(findings.get(name)) for name in names]
        rows.append(AuditRow(one, {True: "yes", False: "no", None: NONE}[audit.durable], cells))
    reasons: Mapping[str, None] = dict.fromkeys(
        finding.reason for _, audit in audits for finding in audit.findings if finding.reason
    )
    return AuditTable([(words(name), ATTACK[name].definition) for name in names], rows, list(reasons))


def audit_of(group: SeedGroup) -> Audit | None:
    """Return the audit of the first trial of a configuration; None if it has none, or a damaged one."""
    trial = group.trials[0]
    content = trial.sweep.source.file(trial.name_in_sweep, AUDIT_FILE)
    if content is None:
        return None
    try:
        return load_audit(content, f"{AUDIT_FILE} of trial {trial.name_in_sweep}")
    except Damaged as error:
        logger.warning("%s; it is left out", error)
        return None


def cell_of(finding: Finding | None) -> Cell:
    """Return the cell of a number; empty where the attack was not run."""
    if finding is None:
        return Cell("", float("nan"), "", "")
    verdict = "" if finding.passes is None else finding.verdict
    interval = "" if finding.interval == NONE else f"R {finding.interval}"
    return Cell(number(finding.value), finding.value, interval, verdict)
