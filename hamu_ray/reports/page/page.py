"""The report page, rendered as one self-contained HTML file."""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from hamu_ray.reports.analysis.anytime import volume_curves
from hamu_ray.reports.analysis.comparison import MethodVolume, comparisons, volumes
from hamu_ray.reports.analysis.details import Details, fetch
from hamu_ray.reports.analysis.importance import importances
from hamu_ray.reports.analysis.problems import Problem, letters, problems_of
from hamu_ray.reports.front.figure import front_figure
from hamu_ray.reports.front.palette import MethodStyle, css, styles_of
from hamu_ray.reports.front.traces import Figure
from hamu_ray.reports.page import advice, rows
from hamu_ray.reports.page.audits import audit_table, durability_charts
from hamu_ray.reports.page.before_after import views_of
from hamu_ray.reports.page.charts import anytime_chart, front_of, importance_chart, volume_chart
from hamu_ray.reports.page.origins import provenance_rows, sweep_rows
from hamu_ray.reports.page.step_charts import hardness_charts, heat_maps, learning_charts
from hamu_ray.reports.page.variances import TRAINING_COSTS, variance_rows
from hamu_ray.results import wording
from hamu_ray.results.sweep_result import SweepResult

PACKAGE = "hamu_ray.reports.page"
LISTED = 200
"""Maximum number of unfinished trials in the short list; the table of all trials has all of them."""


@dataclass
class Charts:
    """The figures of a page by name."""

    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, figure: Figure) -> str:
        """Store a figure and return its name."""
        name = f"f{len(self.figures)}"
        self.figures[name] = figure
        return name


def render(sweeps: Sequence[SweepResult], target: str, problems: Sequence[Problem] | None = None) -> str:
    """Render the page for any number of sweeps, including none."""
    problems = problems_of(sweeps) if problems is None else problems
    methods = styles_of(sorted({method for problem in problems for method in problem.methods}))
    charts = Charts()
    views = [_view(problem, f"p{i}", methods, charts) for i, problem in enumerate(problems)]
    return template("page.html").render(
        target=target,
        title=target,
        views=views,
        sweeps=sweep_rows(sweeps, letters(sweeps)) if sweeps else [],
        provenance=provenance_rows(sweeps),
        stores=sorted({sweep.source.address for sweep in sweeps}),
        methods=methods,
        made=now(),
        data=Markup(as_script(charts.figures)),
        style=style(),
        program=_file("page.js"),
        plotly=_plotly(),
    )


def template(name: str) -> Template:
    """Return a template of the package, with filters for words and numbers."""
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": wording.words, "number": wording.number, "spread": wording.spread}
    environment.filters |= {"last_word": wording.last_word}
    environment.filters |= {"p_value": wording.p_value, "signed": wording.signed, "percent": wording.percent}
    return environment.get_template(name)


def style() -> Markup:
    """Return the style sheet of all pages."""
    return Markup(css()) + _file("style.css")


def now() -> str:
    """Return the time for the foot of a page."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _volume_view(
    problem: Problem, found: list[MethodVolume], methods: Mapping[str, MethodStyle], charts: Charts
) -> dict[str, Any]:
    """Return the template variables of the section on hypervolumes, and on their variance over seeds."""
    pairs, curves = comparisons(found), volume_curves(problem)
    return {
        "volumes": found,
        "volume_chart": charts.add(volume_chart(found, methods)) if found else None,
        "anytime": charts.add(anytime_chart(curves, methods)) if curves else None,
        "repetitions": max((curve.repetitions for curve in curves), default=1),
        "volume_seeds": sorted({seed for volume in found for seed in volume.by_seed}),
        "comparisons": pairs,
        "wilcoxon": any(math.isfinite(pair.wilcoxon) for pair in pairs),
        "variances": variance_rows(problem),
        "training_costs": TRAINING_COSTS,
        "one_training": problem.shared_training,
    }


def _view(problem: Problem, name: str, methods: Mapping[str, MethodStyle], charts: Charts) -> dict[str, Any]:
    """Return the template variables of a problem."""
    details = fetch(problem)
    own = {method: methods[method] for method in problem.methods}
    front = front_of(problem, methods)
    found = volumes(problem)
    found_importances, missing = importances(problem)
    columns, metric_rows = rows.metric_table(problem)
    ends, method_rows = rows.method_rows(problem)
    trials = rows.trial_rows(problem)
    unfinished = [row for row in trials if not row.finished]
    return {
        "id": name,
        "problem": problem,
        "headline": advice.headline(problem),
        "lede": advice.lede(problem, found),
        "advice": list(advice.next_steps(problem)),
        "methods": own,
        "front": charts.add(front_figure(front)) if front.series or front.others or front.anchors else None,
        "notes": front.notes,
        "definitions": front.definitions,
        "several": any(len(one.seeds) > 1 for one in problem.groups),
        "examples": views_of(problem, charts.add),
        "rows": [_front_row(problem, one, details) for one in reversed(problem.front)],
        "setting_keys": _setting_keys(problem),
        **_volume_view(problem, found, methods, charts),
        "columns": columns,
        "metric_rows": metric_rows,
        "audit": (audit := audit_table(problem)),
        "durability": [charts.add(one) for one in durability_charts(audit, problem, methods)]
        if audit
        else [],
        "learning": [(metric, charts.add(one)) for metric, one in learning_charts(problem, details, methods)]
        if details.drawn
        else [],
        "left_out": details.left_out,
        "hardness": [(t, note, charts.add(one)) for t, note, one in hardness_charts(details, methods)],
        "hardness_said": details.hardness,
        "heat_maps": {
            f"{method}, {problem.knees[method].trials[0].record.trial_id}": [
                (title, charts.add(one)) for title, one in heat_maps(blocks)
            ]
            for method, blocks in details.blocks.items()
        },
        "ends": ends,
        "retraining": list(
            dict.fromkeys(t for m in problem.trials if (t := m.record.provenance.get("retraining")))
        ),
        "method_rows": method_rows,
        "costs": rows.COSTS,
        "reasons": rows.reason_rows(problem),
        "trials": trials,
        "unfinished": unfinished[:LISTED],
        "more_unfinished": max(0, len(unfinished) - LISTED),
        "importances": [(one, charts.add(importance_chart(one))) for one in found_importances],
        "no_importance": missing,
    }


def _setting_keys(problem: Problem) -> list[str]:
    return list(dict.fromkeys(key for one in problem.front for key in one.settings))


def _front_row(problem: Problem, one: Any, details: Details) -> dict[str, Any]:
    """Return the template variables of a front point and its configuration."""
    knee = problem.knee is not None and one is problem.knee
    return {
        "group": one,
        "name": one.record.trial_id,
        "knee": knee,
        "settings": {key: wording.setting(value) for key, value in one.settings.items()},
        "yaml": details.runs.get(one.record.trial_id, ""),
        "command": advice.rerun_command(one),
        "folder": advice.model_folder(one),
    }


def as_script(document: Any) -> str:
    """Serialise to JSON that is safe within a script element: without `<`, `>`, `&`, NaN and infinities."""
    text = json.dumps(_plain(document), allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _plain(value: Any) -> Any:
    """Replace non-finite numbers in nested data by None, and round floats to seven digits."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


@cache
def _file(name: str) -> Markup:
    return Markup((files(PACKAGE) / "templates" / name).read_text(encoding="utf-8"))


@cache
def _plotly() -> str:
    """Return the program that draws the charts, compressed to a third: base64 of gzip."""
    from plotly.offline import get_plotlyjs

    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode()
