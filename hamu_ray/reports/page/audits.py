"""The attacks on the models of the front, for the page."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from hamu_ray.metrics.attacks.names import ATTACK, DURABILITY
from hamu_ray.reports.analysis.problems import Problem, SeedGroup
from hamu_ray.reports.front.palette import MethodStyle
from hamu_ray.reports.front.traces import INK, Figure, axis, figure, markers
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
    durability: float
    durable: str
    deciding: str
    """The attacks that decide so."""
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
        durable = {True: "yes", False: "no", None: NONE}[audit.durable]
        rows.append(AuditRow(one, audit.durability, durable, ", ".join(audit.deciding), cells))
    reasons: Mapping[str, None] = dict.fromkeys(
        finding.reason for _, audit in audits for finding in audit.findings if finding.reason
    )
    return AuditTable([(words(name), ATTACK[name].definition) for name in names], rows, list(reasons))


def durability_charts(
    table: AuditTable, problem: Problem, methods: Mapping[str, MethodStyle]
) -> list[Figure]:
    """Plot the durability of the audited points, the front's third axis, against each objective; empty if unknown."""
    known = [row for row in table.rows if math.isfinite(row.durability)]
    charts = []
    for at, objective in enumerate(problem.objectives if known else ()):
        data = []
        for method in dict.fromkeys(row.group.method for row in known):
            rows = [row for row in known if row.group.method == method]
            points = [(problem.summary.point(row.group.record.measures)[at], row.durability) for row in rows]
            texts = [
                f"<b>{escape(method)}</b> {escape(row.group.record.trial_id)}<br>durability {number(row.durability)}"
                for row in rows
            ]
            style = methods[method]
            edge = {"color": INK, "width": 1.2}
            marker = {"symbol": style.marker, "size": 12, "color": style.css, "line": edge}
            data.append(markers(points, texts, marker, method, cliponaxis=False, meta={"method": method}))
        axes = {
            "xaxis": axis(escape(words(objective.metric))),
            "yaxis": axis(DURABILITY, range=[-0.05, 1.05]),
        }
        charts.append(figure(data, 320, hovermode="closest", **axes))
    return charts


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
