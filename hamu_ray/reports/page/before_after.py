"""Before and after: single examples of a front's points under the original O, the model M and the reference R."""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from hamu_ray.reports.analysis.items import (
    PointItems,
    class_accuracies,
    histograms,
    points_with_items,
    prediction_matrix,
    shown_items,
    similarity_by_layer,
)
from hamu_ray.reports.analysis.problems import Problem
from hamu_ray.reports.front.traces import MUTED, Figure, axis, figure, line, markers
from hamu_ray.results.items import SPLITS, ItemTable
from hamu_ray.results.wording import number, words

COLOURS = {"O": MUTED, "M": "var(--c0)", "R": "var(--c3)"}
DASHES = {"O": "dot", "M": "solid", "R": "dash"}
SYMBOLS = {"O": "circle-open", "M": "circle", "R": "diamond-open"}
TITLES = {"O": "O, before", "M": "M, after", "R": "R, never saw them"}
SPLIT_COLOURS = {"retain": MUTED, "test": "var(--c2)", "forget": "var(--c3)"}
SPLIT_SYMBOLS = {"retain": "circle", "test": "square", "forget": "diamond"}
PAIRS = {
    "MO": ("M and O", "var(--c0)", "solid"),
    "MR": ("M and R", "var(--c3)", "dash"),
    "RO": ("R and O", MUTED, "dot"),
}

MOST_CLASSES = 30
"""Maximum number of classes in a chart; of more, those on which M and R differ most."""

IMAGES, TEXTS = 24, 12
"""Maximum number of examples to forget that a point shows."""

Add = Callable[[Figure], str]
"""Stores a figure in the page, and returns its name."""


def views_of(problem: Problem, add: Add) -> list[dict[str, Any]]:
    """Return the template variables of the front's points whose examples were kept, in the front's order."""
    return [_view(problem, point, add) for point in points_with_items(problem)]


def _view(problem: Problem, point: PointItems, add: Add) -> dict[str, Any]:
    table, group = point.table, point.group
    shown = list(shown_items(table))
    names = [words(objective.metric) for objective in problem.objectives]
    values = [f"{name} {number(i.mean)}" for name, i in zip(names, group.intervals, strict=True)]
    has_images = any(item["image"] for item in shown)
    has_texts = any(item["truth"] for item in shown)
    return {
        "name": group.record.trial_id,
        "method": group.method,
        "knee": problem.knee is group,
        "said": f"{group.method} {group.record.trial_id}: {', '.join(values)}",
        "counts": {split: table.sizes.get(split, 0) for split in SPLITS},
        "sampled": {
            split: n
            for split in SPLITS
            if (n := len(table.of("M", split, "loss"))) < table.sizes.get(split, 0)
        },
        "models": {model: TITLES[model] for model in table.models},
        "images": [_image(item, table) for item in shown[:IMAGES]] if has_images else [],
        "texts": shown[:TEXTS] if has_texts and not has_images else [],
        "losses": [(split, add(one)) for split in SPLITS if (one := loss_chart(table, split)) is not None],
        "classes": _added(add, class_chart(table)),
        "matrices": [(title, add(one)) for title, one in matrices(table)],
        "embeddings": [
            (TITLES[m], add(one)) for m in table.models if (one := embedding_chart(table, m)) is not None
        ],
        "similarity": _added(add, similarity_chart(point.layers)),
    }


def _sampled(table: ItemTable) -> dict[str, int]:
    """Return the number of examples of each split of which the table has a sample."""
    counts = {split: len(table.of("M", split, "loss")) for split in SPLITS}
    return {split: count for split, count in counts.items() if count < table.sizes.get(split, 0)}


def _added(add: Add, chart: Figure | None) -> str | None:
    return None if chart is None else add(chart)


def _image(item: Mapping[str, Any], table: ItemTable) -> dict[str, Any]:
    rows = [
        {
            "model": model,
            "title": TITLES[model],
            "prediction": class_name(table, values["prediction"]),
            "confidence": values["confidence"],
            "right": values["correct"] == 1,
        }
        for model, values in item["models"].items()
    ]
    image = f"data:image/png;base64,{base64.b64encode(item['image']).decode()}"
    return {"image": image, "label": class_name(table, item["label"]), "index": item["index"], "rows": rows}


def class_name(table: ItemTable, label: int | None) -> str:
    """Return the name of a class, or its number if it has none."""
    if label is None:
        return ""
    return table.class_names[label] if label < len(table.class_names) else str(label)


def loss_chart(table: ItemTable, split: str) -> Figure | None:
    """Plot the losses of each model on a split as histograms, on a logarithmic axis."""
    edges, fractions = histograms(table, split)
    if not fractions:
        return None
    data = []
    for model, heights in fractions.items():
        corners = [(edges[0], 0.0), *zip(edges.tolist(), [*heights.tolist(), 0.0], strict=True)]
        trace = line(corners, COLOURS[model], 2, model, DASHES[model])
        data.append({**trace, "line": {**trace["line"], "shape": "hv"}, "showlegend": True})
    return figure(
        data[::-1],
        260,
        xaxis=axis("loss in nats", type="log", exponentformat="power", dtick=_decades(edges)),
        yaxis=axis("fraction of examples", rangemode="tozero"),
        showlegend=True,
    )


def _decades(edges: np.ndarray) -> int:
    """Return how many decades a tick of a logarithmic axis is from the next."""
    return max(1, int(np.ceil(np.log10(edges[-1] / edges[0]) / 5)))


def class_chart(table: ItemTable) -> Figure | None:
    """Plot the accuracy of each model on the test examples of each class, and on the forget set."""
    test, forgotten = class_accuracies(table, "test"), class_accuracies(table, "forget")
    classes = list(next(iter(test.values()), {}))
    if not classes or not forgotten.get("M"):
        return None
    if len(classes) > MOST_CLASSES:
        other = test.get("R", test["O"])
        classes = sorted(sorted(classes, key=lambda one: -abs(test["M"][one] - other[one]))[:MOST_CLASSES])
    rows = [*(f"test: {class_name(table, one)}" for one in classes), "forget set"]
    data = []
    for model in table.models:
        whole = float(np.nanmean(table.numbers(model, "forget", "correct")))
        values = [*(test[model][one] for one in classes), whole]
        texts = [
            f"{escape(row)}: {TITLES[model]} {value:.1%}" for row, value in zip(rows, values, strict=True)
        ]
        marker = {
            "symbol": SYMBOLS[model],
            "size": 10,
            "color": COLOURS[model],
            "line": {"width": 2, "color": COLOURS[model]},
        }
        points = [(value, escape(row)) for row, value in zip(rows, values, strict=True)]
        data.append({**markers(points, texts, marker, model), "showlegend": True})
    order = {"categoryorder": "array", "categoryarray": [escape(row) for row in reversed(rows)]}
    return figure(
        data[::-1],
        110 + 24 * len(rows),
        xaxis=axis("accuracy", range=[-0.03, 1.03], tickformat=".0%"),
        yaxis={"type": "category", "automargin": True, "ticks": "", **order},
        showlegend=True,
        hovermode="closest",
    )


def matrices(table: ItemTable) -> list[tuple[str, Figure]]:
    """Return heat maps of predictions by true class: of the forget set by each model, of the test set by M."""
    wanted = [("forget", model) for model in ("M", "R", "O") if model in table.models] + [("test", "M")]
    found = []
    for split, model in wanted:
        matrix = prediction_matrix(table, model, split)
        if matrix is None or len(matrix.columns) > 2 * MOST_CLASSES:
            continue
        names = [escape(class_name(table, one)) for one in matrix.columns]
        trace = {
            "type": "heatmap",
            "x": names,
            "y": [escape(class_name(table, one)) for one in matrix.rows],
            "z": matrix.fractions.tolist(),
            "zmin": 0,
            "zmax": 1,
            "xgap": 1,
            "ygap": 1,
            "colorscale": [[0, "var(--sheet)"], [1, "var(--c0)"]],
            "hovertemplate": "class %{y}, predicted %{x}: %{z:.1%}<extra></extra>",
            "colorbar": {"thickness": 12, "outlinewidth": 0, "tickformat": ".0%"},
        }
        layout = {
            "xaxis": axis("predicted class", type="category", ticks="", showgrid=False),
            "yaxis": axis(
                "true class", type="category", ticks="", showgrid=False, autorange="reversed", automargin=True
            ),
        }
        title = f"{'forget set' if split == 'forget' else 'test set'}, {TITLES[model]}"
        found.append((title, figure([trace], 130 + max(60, 26 * len(matrix.rows)), **layout)))
    return found


def embedding_chart(table: ItemTable, model: str) -> Figure | None:
    """Plot the first two principal components of a model's activations before its output layer."""
    data = []
    for split in ("retain", "test", "forget"):
        x, y = (table.numbers(model, split, name) for name in "xy")
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            continue
        colour = SPLIT_COLOURS[split]
        size = 7 if split == "forget" else 5
        marker = {
            "symbol": SPLIT_SYMBOLS[split],
            "size": size,
            "color": colour,
            "opacity": 0.75 if split == "forget" else 0.45,
        }
        points = zip(x[known].tolist(), y[known].tolist(), strict=True)
        data.append({**markers(points, (), marker, split), "showlegend": True})
    if not data:
        return None
    axes = {"showticklabels": False, "ticks": ""}
    return figure(
        data,
        300,
        xaxis=axis("first component", **axes),
        yaxis=axis("second component", **axes),
        showlegend=True,
    )


def similarity_chart(layers: Sequence[dict[str, Any]]) -> Figure | None:
    """Plot the similarity of the models' layers on the forget set."""
    found = similarity_by_layer(layers, "forget")
    data = []
    for pair, values in found.items():
        title, colour, dash = PAIRS[pair]
        names = [escape(name) for name in values]
        trace = line(zip(names, values.values(), strict=True), colour, 2, title, dash)
        texts = [f"{name}: {title} {value:.3f}" for name, value in zip(names, values.values(), strict=True)]
        data.append(
            {
                **trace,
                "mode": "lines+markers",
                "showlegend": True,
                "hovertext": texts,
                "hovertemplate": "%{hovertext}<extra></extra>",
                "hoverinfo": "text",
                "marker": {"size": 6, "color": colour},
            }
        )
    if not data:
        return None
    return figure(
        data,
        300,
        showlegend=True,
        xaxis=axis("layer", type="category", tickfont={"size": 10}, automargin=True),
        yaxis=axis("similarity (linear CKA)", range=[-0.03, 1.03]),
    )
