"""The identity of the unlearning problem that a configuration belongs to: a key, and a title in a few words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hamu_ray.config.search import Objective
from hamu_ray.config.sources.key_paths import flatten

PROBLEM_SECTIONS = ("data", "forget", "model", "training", "original", "reference")
"""Config sections that define the unlearning problem. Trials that differ in them are not compared."""

Configuration = Mapping[str, Any]


def problem_key(run: Configuration, objectives: Sequence[Objective]) -> str:
    """Return the same text for configurations of the same problem: they may differ in their seeds."""
    sections = {section: run.get(section) for section in PROBLEM_SECTIONS} | {"training": recipe(run)}
    return json.dumps([sections, [one.model_dump() for one in objectives]], sort_keys=True, default=str)


def recipe(run: Configuration) -> dict[str, Any]:
    """Return the training recipe of a configuration without its seed."""
    return {key: value for key, value in (run.get("training") or {}).items() if key != "seed"}


def about(run: Configuration) -> str:
    """Describe a configuration's problem in a few words, for example `digits, class 0 forgotten, resnet20`."""
    data, forget, model = (run.get(section) or {} for section in ("data", "forget", "model"))
    match forget.get("kind"):
        case "class":
            what = f"class {forget.get('label')} forgotten"
            if forget.get("rho"):
                what += f" (rho {forget['rho']:g})"
        case "random":
            what = f"a random {forget.get('share', 0):.0%} forgotten"
        case "split":
            what = f"split {forget.get('split')} forgotten"
        case _:
            what = "a listed part forgotten"
    return ", ".join(str(part) for part in (data.get("name"), what, model.get("name")) if part)


def titles_of(problems: Sequence[tuple[Configuration, Sequence[Objective]]]) -> list[str]:
    """Name each problem, given by one of its configurations, by the keys in which the problems differ."""
    if len(problems) == 1:
        return [about(problems[0][0])]
    flats = [
        flatten({section: run.get(section) or {} for section in PROBLEM_SECTIONS} | {"training": recipe(run)})
        for run, _ in problems
    ]
    keys = dict.fromkeys(key for flat in flats for key in flat)
    differ = [key for key in keys if len({json.dumps(flat.get(key), default=str) for flat in flats}) > 1]
    titles = []
    for (run, objectives), flat in zip(problems, flats, strict=True):
        values = [f"{key} = {flat[key]}" for key in differ if key in flat]
        metrics = " and ".join(objective.metric for objective in objectives)
        titles.append(", ".join(values) or f"{about(run)}: {metrics}")
    return titles
