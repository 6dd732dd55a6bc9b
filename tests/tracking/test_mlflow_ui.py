"""MLflow's UI in a browser: the link to a sweep's charts, trials nested in their sweep, the picture, a comparison."""

import numpy as np
import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.reports.front.palette import colour_of
from hamu_ray.reports.front.picture import write_png
from hamu_ray.results.pareto.summary import method_of, summarise
from hamu_ray.results.wording import describe
from hamu_ray.tracking.client import COLOUR, MlflowTracker
from hamu_ray.tracking.labels import labels_of
from hamu_ray.tracking.ui_views import link, view_id, view_of
from hamu_ray.tuning.finish import SCREEN_DPI, SMALL_PICTURE, picture_in_ui
from tests.made_records import sweep as made_up_sweep
from tests.mlflow_server import clients

SWEEP = "made-20260101-120000"
METHODS = ("hamu-q", "scrub", "ga")
"""One of them collapses sometimes."""

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.server,
    pytest.mark.browser,
]


@pytest.fixture(scope="module")
def summary():
    return summarise([record for record in made_up_sweep() if method_of(record) in METHODS])


@pytest.fixture(scope="module")
def made(tracking, mlflow_folder, summary) -> MlflowTracker:
    """An experiment with a sweep as written by the driver."""
    tracking = MlflowTracker.open(tracking.uri, "made", mlflow_folder)
    parent = tracking.start_sweep(SWEEP, {})
    tracking.share_view(parent, **view_of(summary.objectives, SWEEP))
    methods = sorted({method_of(record) for record in summary.trials})
    for record in summary.trials:
        name = method_of(record)
        run = RunConfig.model_validate({"method": {"name": name}, "optimizer": {"learning_rate": 0.01}})
        labels = labels_of(run)
        tags = {**labels, "sweep": SWEEP, COLOUR: colour_of(name, methods)}
        trial = tracking.start_trial(record.trial_id, parent, describe(record.parameters), labels, tags)
        for step in (0, 10):
            tracking.log_metrics(trial, record.measures, step)
        tracking.finish(trial, record.status)
    tracking.log_files(parent, write_png(mlflow_folder / SMALL_PICTURE, summary, dpi=SCREEN_DPI))
    tracking.describe(parent, picture_in_ui(summary, SWEEP))
    tracking.finish(parent, "finished")
    return tracking


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1700, "height": 1000})
    page.set_default_timeout(60_000)
    yield page
    page.close()


def ids(tracking) -> tuple[str, list[str]]:
    """The run of the sweep, and those of its trials."""
    runs = clients(tracking).search_runs([tracking.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "sweep"]
    trials = [run for run in runs if run.data.tags["kind"] == "trial"]
    return parent.info.run_id, [run.info.run_id for run in trials]


def test_the_link_shows_the_front_in_the_colours_of_its_methods(page, made, server, summary):
    page.goto(link(f"{server}/", made.experiment_id, view_id(summary.objectives, SWEEP)))
    page.get_by_text("retain_utility", exact=True).first.wait_for()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 3")
    scatter = page.evaluate("document.querySelector('.js-plotly-plot').data[0]")
    shown = sorted(zip(scatter["x"], scatter["y"], strict=True))
    np.testing.assert_allclose(shown, sorted(summary.point(trial.measures) for trial in summary.trials))
    methods = sorted({method_of(record) for record in summary.trials})
    expected = {colour_of(method, methods).lower() for method in methods}
    assert {colour.lower() for colour in scatter["marker"]["color"]} == expected
    assert page.get_by_text("does not exist").count() == 0


def test_trials_are_nested_in_their_sweep(page, made, server):
    page.goto(f"{server}/#/experiments/{made.experiment_id}/runs")
    row = page.locator(".ag-row[row-id]").filter(has_text="made-2026").first
    row.locator("button").first.click()
    page.get_by_role("link", name="hamu-q lr").first.wait_for()
    assert page.get_by_role("link", name="scrub lr").count() == 5


def test_the_sweeps_page_has_its_picture(page, made, server):
    parent, _ = ids(made)
    page.goto(f"{server}/#/experiments/{made.experiment_id}/runs/{parent}")
    picture = page.locator(f"img[src*='{SMALL_PICTURE}']").first
    picture.wait_for(state="attached")
    page.wait_for_function(f"document.querySelector(\"img[src*='{SMALL_PICTURE}']\").naturalWidth > 300")
    assert picture.evaluate("image => image.naturalWidth") < 900, "no wider than the page"


def test_two_trials_are_compared(page, made, server):
    _, trials = ids(made)
    runs = ",".join(f'"{trial}"' for trial in trials[:2])
    page.goto(f'{server}/#/compare-runs?runs=[{runs}]&experiments=["{made.experiment_id}"]')
    page.get_by_text("Comparing 2 Runs").wait_for()
    page.locator(".js-plotly-plot").first.wait_for()
    assert page.get_by_text("forget_quality").count() > 0
