import json
import zlib
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

from hamu_ray.config.search import Objective
from hamu_ray.tracking.ui_views import link, pack, unpack, view_id, view_of

OBJECTIVES = (Objective(metric="avg_gap", mode="min"), Objective(metric="retain_utility"))
TAG_LENGTH = 5000
"""Limit for an experiment's tag, in older stores than the tested one."""


def test_a_tag_is_what_the_ui_reads():
    view = view_of(OBJECTIVES, "digits-20260101-120000")
    value = pack(view["name"], view["state"], 1_700_000_000_000)
    document = json.loads(value)
    kind, _, packed = document["state"].partition(";")
    assert kind == "deflate"
    assert json.loads(zlib.decompress(b64decode(packed, validate=True))) == view["state"]
    assert document["createdAt"] == document["updatedAt"] == 1_700_000_000_000
    assert unpack(value) == (view["name"], view["state"])
    assert len(value) < TAG_LENGTH


def test_charts_are_in_sections_and_have_unique_names():
    state = view_of(OBJECTIVES)["state"]
    sections = {section["uuid"] for section in state["compareRunSections"]}
    charts = [chart["uuid"] for chart in state["compareRunCharts"]]
    assert len(charts) == len(set(charts))
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= sections


def test_a_view_shows_both_objectives_of_one_sweep_or_of_all():
    one, every = view_of(OBJECTIVES, "tiny-1")["state"], view_of(OBJECTIVES)["state"]
    assert "tags.sweep = 'tiny-1'" in one["searchFilter"]
    assert "tags.sweep" not in every["searchFilter"]
    scatter = one["compareRunCharts"][0]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == ("avg_gap", "retain_utility")
    assert {"metrics.`avg_gap`", "metrics.`retain_utility`"} <= set(one["selectedColumns"])
    assert view_id(OBJECTIVES, "tiny-1") != view_id(OBJECTIVES)


def test_more_objectives_are_parallel_coordinates():
    objectives = (*OBJECTIVES, Objective(metric="steps", mode="min"))
    view = view_of(objectives, "tiny-1")
    first = view["state"]["compareRunCharts"][0]
    assert (first["type"], first["selectedMetrics"]) == ("PARALLEL", ["avg_gap", "retain_utility", "steps"])
    assert view["name"] == "tiny-1: avg gap, retain utility, steps"


def test_the_link_names_the_view():
    address = urlsplit(urlsplit(link("http://127.0.0.1:5000/", "7", "hamu_ray-a b")).fragment)
    assert address.path == "/experiments/7/runs"
    assert parse_qs(address.query)["viewStateShareKey"] == ["hamu_ray-a b"]
