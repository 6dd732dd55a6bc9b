"""The page for different contents of MLflow: nothing, failures, one trial, hostile names. Without a browser."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from hamu_ray.reports.analysis.importance import EVERYTHING, importances
from hamu_ray.reports.analysis.problems import problems_of
from hamu_ray.reports.front.palette import LIGHT
from hamu_ray.reports.front.traces import resolved
from hamu_ray.reports.make import write_report
from hamu_ray.reports.page.page import as_script, render
from hamu_ray.reports.page.rows import metric_table, reason_rows
from hamu_ray.results.folder import SENT_FILE
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from hamu_ray.results.trial import Status
from hamu_ray.results.wording import duration, last_word, number, signed
from hamu_ray.tracking.reader import MlflowReader
from tests.made_store import (
    BLOCKS,
    SPACE,
    STEPS,
    fill,
    made_record,
    points,
    sweep_config,
    uri_of,
)

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """The content of a page: text outside of scripts, elements, and the data in its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.scripts[-2])

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def sweeps_of(store: Path, experiment: str) -> list[SweepResult]:
    return MlflowReader.open(uri_of(store), store).sweeps(experiment)


def page_of(store: Path, experiment: str) -> Page:
    return Page(render(sweeps_of(store, experiment), experiment))


@pytest.fixture(scope="module")
def page(study: SweepResult) -> Page:
    return Page(render([study], "study"))


def test_the_answer_comes_first(page: Page, study: SweepResult) -> None:
    (problem,) = problems_of([study])
    assert problem.knee is not None
    first = page.text.index("Best balance: hamu\N{NON-BREAKING HYPHEN}q")
    assert first < page.text.index("What to do next") < page.text.index("Each point is a configuration")
    assert number(problem.summary.hypervolume) in page.text
    assert len(page.of("h1")) == 1


def test_the_metrics_of_o_r_and_the_knee_come_after_the_front_with_definitions_to_tap(
    page: Page, study: SweepResult
) -> None:
    ids = [str(attributes.get("id")) for attributes in page.of("section")]
    order = [
        next(i for i, name in enumerate(ids) if name.endswith(end))
        for end in ("-front", "-measures", "-volume")
    ]
    assert order == sorted(order)
    (problem,) = problems_of([study])
    assert problem.knee is not None
    columns, rows = metric_table(problem)
    assert [row.name for row in rows][:3] == ["O", problem.knee.method, "R"]
    assert not any(
        "title" in attributes for attributes in page.of("th") if "num" in str(attributes.get("class"))
    )
    for column in columns:
        assert column.definition in page.text


def test_an_original_that_did_not_know_comes_before_the_answer_is_explained(study: SweepResult) -> None:
    sentence = "nothing to forget: the original's forget_quality is 0.93"
    trials = [replace(trial, nothing_to_forget=sentence) for trial in study.trials]
    page = Page(render([replace(study, trials=trials)], "study"))
    assert "Nothing to forget: the original's forget_quality is 0.93. It is" in page.text


def test_it_calls_nobody(page: Page) -> None:
    links = [
        value
        for _, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "href")
    ]
    assert links
    assert all(str(link).startswith(("#", "data:,")) for link in links)
    (policy,) = [meta for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy["content"]).startswith("default-src 'none'")


def test_every_chart_is_a_figure_that_plotly_takes(page: Page) -> None:
    places = [a["data-figure"] for tag, a in page.elements if "data-figure" in a]
    assert len(places) >= 10
    assert set(places) <= set(page.figures)
    resolved = re.sub(r"var\(--[a-z0-9]+\)", "#123456", json.dumps(page.figures))
    for figure in json.loads(resolved).values():
        go.Figure(figure)  # raises for invalid properties
        for axis in ("xaxis", "yaxis"):
            named = figure["layout"][axis].get("type") == "category"
            assert named or figure["layout"][axis]["title"]["text"], "an axis says what it shows"


def test_heat_maps_hold_what_was_recorded(page: Page) -> None:
    maps = [f["data"][0] for f in page.figures.values() if f["data"][0]["type"] == "heatmap"]
    angle = next(one for one in maps if "°" in one["hovertemplate"])
    found = np.frombuffer(base64.b64decode(angle["z"]["bdata"]), "<f4").reshape(len(BLOCKS), STEPS)
    assert angle["y"] == list(BLOCKS)
    assert found[2, 4] == 10 * 2 + 5
    assert angle["z"]["shape"] == f"{len(BLOCKS)}, {STEPS}"


def test_three_objectives_are_in_charts_and_tables(study: SweepResult) -> None:
    cost = {"metric": "gradient_computations", "mode": "min", "worst": 200}
    objectives = [{"metric": "forget_quality"}, cost, {"metric": "retain_utility"}]
    trials = [
        replace(
            trial,
            measures={**trial.measures, "gradient_computations": 60.0 + 9 * i} if trial.measures else {},
        )
        for i, trial in enumerate(study.trials)
    ]
    document = {**study.document, "search": {"objectives": objectives}}
    sweep = replace(study, document=document, trials=tuple(trials))
    (problem,) = problems_of([sweep])
    text = render([sweep], "three")
    page = Page(text)
    for figure in page.figures.values():
        go.Figure(resolved(figure, LIGHT))
    assert "Parallel coordinates of forget quality, gradient computations, retain utility" in text
    assert all(len(group.intervals) == 3 for group in problem.groups)
    assert text.count(" over steps, one line per trial") == 2, "costs have no curve"


def test_error_bars_are_the_intervals_over_seeds(page: Page, study: SweepResult) -> None:
    (problem,) = problems_of([study])
    widths = {
        round(w, 6)
        for f in page.figures.values()
        for t in f["data"]
        if "error_y" in t
        for w in t["error_y"]["array"]
    }
    for one in problem.groups:
        assert round(one.intervals[1].high - one.intervals[1].mean, 6) in widths


def test_all_trials_are_listed_and_front_points_can_be_run(page: Page, study: SweepResult) -> None:
    (problem,) = problems_of([study])
    for record in study.trials:
        assert record.trial_id in page.text
    assert f"finished all steps taken {sum(r.status is Status.FINISHED for r in study.trials)}" in page.text
    assert page.text.count("mlflow artifacts download") == len(problem.front) + 1
    for one in problem.front:
        assert f"-r {study.source.run_id(one.trials[0].name_in_sweep)} -a run.yaml" in page.text
    assert "learning_rate: 0.03" in page.text


def test_a_knee_at_the_end_of_its_own_method_s_range(tmp_path: Path) -> None:
    """A key may have a range for each method: the others' say nothing about the knee."""
    rates: list[dict[str, Any]] = [
        {"loguniform": [0.3, 1.0], "when": {"method.name": "ga"}},
        {"loguniform": [0.0299, 0.2], "when": {"method.name": "hamu-q"}},
        {"loguniform": [0.001, 1.0]},
    ]
    config = sweep_config(
        {"method.name": {"grid": ["hamu-q", "ga"]}, "optimizer.learning_rate": rates}, search={"samples": 1}
    )
    rate = {"hamu-q": 0.03, "ga": 0.8}
    trials = [
        {**point, "optimizer.learning_rate": rate[str(point["method.name"])]} for point in points(config)
    ]
    records = [made_record(number, config, point, tmp_path) for number, point in enumerate(trials)]
    fill(tmp_path, config, name="ends", records=records)
    page = Page(render([read_sweep(tmp_path / "sweeps" / "ends")], "ends"))
    assert "learning rate 0.03 lies at the lower end of its search range (0.0299 to 0.2)" in page.text


def test_reasons_that_differ_in_their_numbers_are_one(study: SweepResult) -> None:
    reasons = [
        "forget loss 1.9 reached the reference's 1.86",
        "forget loss 2e+01 reached the reference's 1.86",
    ]
    trials = [
        replace(trial, reason=reasons[number % 2])
        if trial.status is Status.FINISHED
        else replace(trial, reason="perplexity of 12")
        for number, trial in enumerate(study.trials)
    ]
    (problem,) = problems_of([replace(study, trials=trials)])
    rows = {reason: count for _, reason, count in reason_rows(problem)}
    assert set(rows) == {"forget loss \u2026 reached the reference's \u2026", "perplexity of 12"}
    assert sum(rows.values()) == len(trials)


def test_what_is_not_guaranteed_is_marked(page: Page, study: SweepResult) -> None:
    outside = [record for record in study.trials if record.guaranteed is False]
    assert outside
    assert page.text.count("finished, not guaranteed") == len(outside)
    assert "Hollow: not guaranteed" in page.text


def test_hardness_and_kept_promises(page: Page) -> None:
    free = (
        "75.0 % of the forgetting available in the first step costs nothing in retaining, 25.0 % in the last."
    )
    assert f"hamu-q: {free}" in page.text
    assert "Part of the available change of the guaranteed loss that is not free" in page.text
    (kept,) = [f for f in page.figures.values() if "actual / promised" in json.dumps(f["layout"])]
    (trace,) = kept["data"]  # of HAMU alone; steps at which nothing was measured leave no gap
    assert (trace["x"], trace["y"], trace["mode"]) == ([1, 11], [0.75, 0.75], "lines+markers")


def test_tests_and_how_to_read_them(page: Page) -> None:
    assert "after Holm" in page.text
    assert "With few seeds (n) the test has little power" in page.text
    assert "Wilcoxon's signed-rank test needs at least six seeds" in page.text


def test_an_empty_experiment(store: Path) -> None:
    page = Page(render([], "nothing here"))
    assert "No sweeps yet" in page.text
    assert "python -m hamu_ray.tune" in page.text
    assert page.figures == {}


def test_all_trials_failed(store: Path) -> None:
    config = sweep_config()
    records = [
        replace(
            made_record(i, config, point, store),
            status=Status.FAILED,
            measures={},
            curve={},
            reason="RuntimeError: boom",
        )
        for i, point in enumerate(points(config)[:4])
    ]
    fill(store, config, name="failed", experiment="failed", records=records, hardness=False)
    page = page_of(store, "failed")
    assert "No trial finished: there is no front" in page.text
    assert "4 trials failed; the most common reason (4 times): RuntimeError: boom" in page.text
    assert "32 trials of 36 did not complete" in page.text


def test_a_single_trial(store: Path) -> None:
    config = sweep_config({"optimizer.learning_rate": {"grid": [0.03]}})
    fill(store, config, name="alone", experiment="alone")
    page = page_of(store, "alone")
    assert "It is the only point on the front of 1 trial." in page.text
    assert "One seed (41): there is no interval." in page.text
    assert "fewer than 12" in page.text


def test_running_trials_are_shown(store: Path) -> None:
    config = sweep_config()
    fill(store, config, name="going", experiment="going", records=[], running=points(config)[:3])
    page = page_of(store, "going")
    assert "No result yet: 3 trials still running" in page.text
    assert "its sweep is running" in page.text
    assert "0 of 36" in page.text


def test_what_others_wrote_is_text_and_nothing_else(store: Path) -> None:
    config = sweep_config({"method.name": {"grid": ["hamu-q", "gdiff"]}})
    experiment = "hostile <script>alert(0)</script>"
    tracking = fill(store, config, name="hostile", experiment=experiment)
    (sweep,) = sweeps_of(store, experiment)
    run_ids = json.loads((store / "sweeps" / "hostile" / SENT_FILE).read_text())["runs"]
    tracking.set_tags(run_ids["hostile"], {"sweep": HOSTILE})
    for trial in sweep.trials:
        tags = {
            "reason": HOSTILE,
            "trial": f"{trial.trial_id}{HOSTILE}",
            "model_path": f"/{HOSTILE}/m",
        }
        tracking.set_tags(run_ids[trial.trial_id], tags)
    page = Page(render(sweeps_of(store, experiment), experiment))
    assert len(page.of("script")) == 3
    assert not page.of("img")
    assert HOSTILE in page.text
    assert experiment in page.text
    texts = json.dumps(page.figures)
    assert "onerror" in texts
    assert "<script" not in texts
    assert "<img" not in texts


def test_scripts_end_where_they_should() -> None:
    value = {HOSTILE: [HOSTILE, float("nan"), float("inf"), 0.1, "\u2028"]}
    text = as_script(value)
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {HOSTILE: [HOSTILE, None, None, 0.1, "\u2028"]}


def test_importance_finds_what_matters(study: SweepResult) -> None:
    (problem,) = problems_of([study])
    found, missing = importances(problem)
    everything = next(one for one in found if one.scope == EVERYTHING)
    for fractions in everything.fractions.values():
        assert sum(fractions.values()) == pytest.approx(1)
        assert set(fractions) == set(SPACE)
        assert fractions["seed"] < max(fractions["method.name"], fractions["optimizer.learning_rate"])
    assert missing == ["with fewer than 12 finished trials, ga (3), gdiff (9)"]


def test_files_in_the_folder_of_the_page(study: SweepResult, tmp_path: Path) -> None:
    import pandas as pd

    page = write_report([study], "study", tmp_path / "new" / "folder")
    folder = page.parent
    names = {"report.html", "front.png", "front.csv", "trials.csv", "hypervolume.csv", "measures.csv"}
    assert names | {"comparisons.csv"} == {path.name for path in folder.iterdir()}
    assert len(pd.read_csv(folder / "trials.csv")) == len(study.trials)
    volumes = pd.read_csv(folder / "hypervolume.csv")
    assert set(volumes["seed"]) == {41, 42, 43}
    measures = pd.read_csv(folder / "measures.csv")
    knee = measures[(measures["model"] == "hamu-q") & (measures["measure"] == "forget_quality")].iloc[0]
    assert knee["value"] - 1.0 == pytest.approx(knee["less_reference"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98765, "0.9877"),
        (12.3456, "12.35"),
        (1234567, "1,234,567"),
        (3.2e-7, "3.20e-07"),
        (float("nan"), "\N{EN DASH}"),
        (0, "0"),
        (0.0, "0.0000"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


def test_keys_read_well() -> None:
    keys = ("optimizer.learning_rate", "seed", "batch.{retain,forget}")
    assert [last_word(key) for key in keys] == ["learning rate", "seed", "batch retain, forget"]


def test_differences_and_times() -> None:
    assert [signed(0.5), signed(-0.5), signed(0.0)] == ["+0.5000", "\N{MINUS SIGN}0.5000", "0.0000"]
    assert [duration(1.234), duration(90), duration(600), duration(9000)] == [
        "1.23 s",
        "90 s",
        "10 min",
        "2.5 h",
    ]


def test_the_page_is_small_enough_to_send(study: SweepResult) -> None:
    """It has everything in it; most of it is the program that draws the charts."""
    assert len(render([study], "study").encode()) < 2_600_000
