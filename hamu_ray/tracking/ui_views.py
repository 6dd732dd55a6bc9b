"""Saved views of the experiment in MLflow's UI: the front as a chart, the objectives by step, the table's columns.

The UI stores the state of its page in a tag of the experiment, and opens it by a link or from its menu "Views". MLflow
has no API for it; this is the format of the UI of MLflow 3.17. A UI with another format reports that it cannot read the
view, and shows its default page.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from hamu_ray.config.search import Objective
from hamu_ray.tracking.store import LAYOUT

TAG = "mlflow.sharedViewState."
PACKED = "deflate;"
LABELS = ("method", "rho", "seed", "constraint_fraction", "constraint_ratio", "learning_rate")
"""Columns of the table of runs, as `hamu_ray.tracking.labels` names them."""
DIAGNOSTICS = ("gradient_cosine",)
"""Plotted by step next to the objectives: the conflict of the two gradients."""
FRONT, REST = "front", "rest"
"""Identifiers of the sections of charts."""
CARD_HEIGHT = 420


def view_id(objectives: Sequence[Objective], sweep: str | None = None) -> str:
    """Return the identifier of a view: of one sweep, or of all sweeps with these objectives."""
    return "hamu_ray-" + (sweep or "-".join(objective.metric for objective in objectives))


def view_of(objectives: Sequence[Objective], sweep: str | None = None) -> dict[str, Any]:
    """Return the identifier, name and state of a view on the trials of a sweep, or of all sweeps."""
    metrics = [objective.metric for objective in objectives]
    words = (" against " if len(metrics) == 2 else ", ").join(metrics).replace("_", " ")
    return {
        "identifier": view_id(objectives, sweep),
        "name": f"{sweep or 'All sweeps'}: {words}",
        "state": _state(objectives, sweep),
    }


def pack(name: str, state: Mapping[str, Any], created_ms: int) -> str:
    """Return the value of a view's tag: JSON whose state is zlib-compressed JSON in base64."""
    packed = base64.b64encode(zlib.compress(json.dumps(dict(state)).encode())).decode()
    return json.dumps(
        {"name": name, "createdAt": created_ms, "updatedAt": created_ms, "state": PACKED + packed}
    )


def unpack(value: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the state in a view's tag."""
    document = json.loads(value)
    packed = document["state"].removeprefix(PACKED)
    return document["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def link(address: str, experiment_id: str, identifier: str) -> str:
    """Return the link that opens a view as charts next to the table of runs, in the UI at an address."""
    query = urlencode({**LAYOUT, "viewStateShareKey": identifier, "compareRunsMode": "CHART"})
    return f"{address}#/experiments/{experiment_id}/runs?{query}"


def relative_link(identifier: str) -> str:
    """Return the same link for use in a description in the UI, where `{experiment_id}` is the experiment."""
    return link("", "{experiment_id}", identifier)


def _state(objectives: Sequence[Objective], sweep: str | None) -> dict[str, Any]:
    """Return the state of the page. Ordered by a metric, because ordered by time the UI nests trials in sweeps."""
    metrics, second = [objective.metric for objective in objectives], objectives[1]
    labels = [label for label in LABELS if label != "method"]
    columns = ["params.`method`", *(f"metrics.`{metric}`" for metric in metrics)]
    columns += [*(f"params.`{label}`" for label in labels), "tags.`status`", "tags.`on_front`"]
    return {
        "searchFilter": f"tags.sweep = '{sweep}' and tags.kind = 'trial'" if sweep else "tags.kind = 'trial'",
        "orderByKey": f"metrics.`{second.metric}`",
        "orderByAsc": second.mode == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            _scatter(*metrics) if len(metrics) == 2 else _parallel(metrics),
            *map(_line, [*metrics, *DIAGNOSTICS]),
        ],
        "compareRunSections": [
            {**_section(FRONT, "Front"), "columns": 2, "cardHeight": CARD_HEIGHT},
            {**_section(REST, "Model metrics"), "display": False},
            {**_section("system", "System metrics"), "display": False},
        ],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(identifier: str, name: str) -> dict[str, Any]:
    return {"uuid": identifier, "name": name, "display": True, "isReordered": False, "deleted": False}


def _card(identifier: str, kind: str, title: str) -> dict[str, Any]:
    return {
        "uuid": identifier,
        "type": kind,
        "displayName": title.replace("_", " "),
        "metricSectionId": FRONT,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    }


def _scatter(first: str, second: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": first, "type": "METRIC"}, "yaxis": {"key": second, "type": "METRIC"}}
    return {**_card("scatter", "SCATTER", f"{second} against {first}"), **axes}


def _parallel(metrics: Sequence[str]) -> dict[str, Any]:
    card = _card("parallel", "PARALLEL", ", ".join(metrics))
    return {**card, "selectedParams": [], "selectedMetrics": list(metrics), "showAllRuns": False}


def _line(metric: str) -> dict[str, Any]:
    return {
        **_card(f"line-{metric}", "LINE", f"{metric} by step"),
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
