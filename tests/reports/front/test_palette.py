import re

from hamu_ray.reports.front.palette import DARK, LIGHT, MARKERS, OKABE_ITO, colour_of, css, styles_of
from hamu_ray.reports.front.scene import compose
from hamu_ray.results.pareto.summary import summarise
from tests.made_records import METHODS, sweep


def test_methods_can_be_distinguished():
    styles = styles_of([f"method {i}" for i in range(len(OKABE_ITO) * len(MARKERS))])
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(styles) == 56
    lines = list(styles.values())[:28]
    assert len({(style.colour, style.dash) for style in lines}) == 28


def test_colours_of_runs_in_mlflow_are_those_of_the_picture_and_all_differ():
    colours = {method: colour_of(method, METHODS) for method in METHODS}
    assert len(set(colours.values())) == len(METHODS) > len(OKABE_ITO)
    drawn = {one.method: one.style.colour for one in compose(summarise(sweep())).series}
    for method in sorted(METHODS)[: len(OKABE_ITO)]:
        assert colours[method] == drawn[method]


def test_both_themes_have_the_same_properties():
    assert set(LIGHT) == set(DARK)
    blocks = re.findall(r"\{([^{}]*)\}", css())
    assert len(blocks) == 3
    for block, theme in zip(blocks, (LIGHT, DARK, DARK), strict=True):
        assert dict(re.findall(r"--(\w+): (#\w+);", block)) == theme
