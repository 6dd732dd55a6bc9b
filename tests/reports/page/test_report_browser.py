"""The page in a real browser: charts are drawn, tables sort, no network access, and it fits on a phone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hamu_ray.reports.page.page import render
from hamu_ray.results.reader import read_sweep
from hamu_ray.results.sweep_result import SweepResult
from tests.made_items import write_images, write_texts
from tests.made_store import OBJECTIVES, fill, made_record, points, sweep_config

pytestmark = pytest.mark.browser

DRAW_ALL = [f"dispatchEvent(new Event('{name}'))" for name in ("beforeprint", "afterprint")]
"""Makes the page draw charts that are out of view, as printing does."""


@pytest.fixture(scope="module")
def file(study: SweepResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render([study], "study"))
    return path


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep with single examples beside the two points of its front."""
    folder = tmp_path_factory.mktemp("examples")
    config = sweep_config({"method.name": {"grid": ["hamu-q", "gdiff"]}})
    sweep = folder / "sweeps" / "made"
    records = [
        replace(
            made_record(number, config, point, sweep), measures=dict(zip(OBJECTIVES, values, strict=True))
        )
        for number, (point, values) in enumerate(zip(points(config), ((0.9, 0.5), (0.5, 0.9)), strict=True))
    ]
    fill(folder, config, name="made", records=records)
    write_images(sweep / "trials" / "0000")
    write_texts(sweep / "trials" / "0001")
    path = folder / "report.html"
    path.write_text(render([read_sweep(sweep)], "made"))
    return path


@pytest.fixture(scope="module", params=[(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser, file: Path) -> Iterator:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.complaints.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector(".main-svg")
    for event in DRAW_ALL:
        page.evaluate(event)
    page.wait_for_function(
        "document.querySelectorAll('.chart').length === document.querySelectorAll('.js-plotly-plot').length"
    )
    yield page
    assert page.complaints == [file.as_uri()], "no error, no request but for the page itself"
    context.close()


def test_everything_is_unfolded_in_print(page) -> None:
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = page.evaluate(folded)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert before > 0
    assert (printed, page.evaluate(folded)) == (0, before)


def test_captions_are_whole(page) -> None:
    """A table may be wider than the screen and scroll; its caption may not."""
    beyond = "one => one.getBoundingClientRect().right > innerWidth || one.scrollWidth > one.clientWidth"
    assert (
        page.evaluate(
            f"[...document.querySelectorAll('caption')].filter({beyond}).map(one => one.textContent)"
        )
        == []
    )


def test_charts_are_drawn(page) -> None:
    charts = page.query_selector_all(".chart")
    assert len(charts) >= 10
    for chart in charts:
        assert chart.query_selector(".main-svg")
        assert chart.query_selector(".trace, .point, .hm image, .heatmaplayer image"), (
            "a chart without a trace"
        )


def test_nothing_overflows_sideways(page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_heading_sorts_its_table(page) -> None:
    table = page.locator("section[id$=volume] table.sortable").first
    heading = table.locator("thead th", has_text="mean")

    def means() -> list[float]:
        column = heading.evaluate("head => head.cellIndex + 1")
        return [float(text) for text in table.locator(f"tbody td:nth-child({column})").all_inner_texts()]

    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert means() == sorted(means(), reverse=True)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert means() == sorted(means())
    assert len(set(means())) > 1


def test_a_method_is_hidden_in_all_charts(page) -> None:
    hidden = "[...document.querySelectorAll('.chart')].flatMap(c => c.data).filter(t => t.visible === false).length"
    pressed = "[...document.querySelectorAll('.legend button[data-method=gdiff]')].map(b => b.ariaPressed)"
    button = page.locator(".legend button", has_text="gdiff").first
    assert page.evaluate(hidden) == 0
    button.click()
    assert page.evaluate(hidden) > 3
    assert set(page.evaluate(pressed)) == {"false"}
    button.click()
    assert page.evaluate(hidden) == 0


def test_charts_follow_the_theme(page) -> None:
    inks = []
    for _ in range(3):  # light, dark, and the system's theme again
        page.locator("#theme").click()
        inks.append(page.evaluate("document.querySelector('.chart').layout.font.color"))
    assert inks[:2] == ["#1d2023", "#e9eaea"]
    assert inks[2] in inks[:2]


def test_another_heat_map_is_chosen(page) -> None:
    unit = "document.querySelector('[id$=heat-chart]').data[0].colorbar.title.text"
    assert page.evaluate(unit) == "degrees"
    page.locator("select[id$=heat]").select_option(index=1)
    assert page.evaluate(unit) != "degrees"


def test_all_metrics_of_all_models_are_shown(page) -> None:
    table = page.locator("table.measures")
    names = table.locator("thead th").all_inner_texts()
    assert names[0] == "metric"
    assert names[1].startswith("O")
    assert names[3].startswith("R")
    assert names[-1] == "definition"
    rows = table.locator("tbody tr")
    assert rows.count() > 5
    assert all(row.is_visible() for row in rows.all())
    assert table.locator("xpath=ancestor::details").count() == 0


def test_charts_are_in_print(browser, file: Path) -> None:
    """Also where the page is printed as soon as it is loaded, although unpacking what draws them takes time."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(
        "const text = Response.prototype.text;"
        "Response.prototype.text = async function () {"
        "  await new Promise((go) => setTimeout(go, 1500)); return text.call(this); };"
    )
    page.goto(file.as_uri(), wait_until="load")
    sheet = 44 * 16
    for event, fits in zip(DRAW_ALL, (float(sheet).__ge__, float(sheet).__lt__), strict=True):
        page.evaluate(event)
        drawn = page.evaluate(
            "[...document.querySelectorAll('.chart')].map((chart) => ["
            "chart.querySelector('.main-svg')?.getBoundingClientRect().width, chart.clientWidth])"
        )
        assert len(drawn) >= 10
        assert [width for width, room in drawn if room] == pytest.approx(
            [room for _, room in drawn if room], abs=2
        )
        assert fits(drawn[0][0])
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_moves_along_the_front(browser, examples: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(examples.as_uri())
    section = page.locator("section[id$=examples]")
    points, slider = section.locator(".front-point"), section.locator(".along input")
    assert points.count() == 2
    for place, content in ((0, ".texts li"), (1, ".images li"), (0, ".texts li")):
        slider.fill(str(place))
        assert [points.nth(at).is_visible() for at in range(2)] == [place == 0, place == 1]
        shown = points.nth(place)
        assert section.locator("output").inner_text() == shown.get_attribute("data-said")
        assert shown.locator(content).first.is_visible()
        chart = shown.locator(".chart").first
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()
        widths = [one.bounding_box()["width"] for one in (chart, chart.locator(".main-svg").first)]
        assert widths[0] == pytest.approx(widths[1], abs=2)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert complaints == []
    page.close()
