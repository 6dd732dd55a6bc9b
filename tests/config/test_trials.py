"""The trials of a sweep: samples of cells, also by a budget of gradients."""

import pytest

from hamu_ray.config.sweep import SweepConfig
from hamu_ray.config.trials import check_steps, positions, samples_of, trials_of

SPACE = {
    "method.name": {"grid": ["hamu-q", "ft"]},
    "forget.rho": {"grid": [0.0, 0.5]},
    "optimizer.learning_rate": {"loguniform": [1e-3, 0.1]},
}


def sweep_of(gradients: int = 400, space: dict | None = None, **sections: object) -> SweepConfig:
    document = {"space": {**SPACE, **(space or {})}, "search": {"budget": {"gradients": gradients}}}
    return SweepConfig.model_validate({"duration": {"steps": 10}, **document, **sections})


def test_methods_get_equal_gradients() -> None:
    """A step of `hamu-q` computes two, one of `ft` one; a method's cells share its budget."""
    config = sweep_of()
    cells = list(config.cells())
    samples = dict(
        zip([(c["method.name"], c["forget.rho"]) for c in cells], samples_of(config, cells), strict=True)
    )
    assert samples == {("hamu-q", 0.0): 10, ("hamu-q", 0.5): 10, ("ft", 0.0): 20, ("ft", 0.5): 20}
    assert trials_of(config) == 60


def test_an_edit_costs_its_pass_instead_of_steps() -> None:
    space = {"method.name": {"grid": ["hamu-q", "ssd"]}}
    with pytest.raises(
        ValueError, match=r"search\.budget\.edit: null, but ssd takes no steps; give the gradients"
    ):
        trials_of(sweep_of(space=space))
    config = sweep_of(space=space, search={"budget": {"gradients": 400, "edit": 50}})
    assert samples_of(config, list(config.cells())) == [10, 10, 4, 4]


def test_a_grid_over_its_own_key_does_not_give_a_method_more() -> None:
    config = sweep_of(space={"method.constraint_fraction": {"grid": [0.2, 0.4, 0.6, 0.8]}})
    cells = list(config.cells())
    found = [
        n for n, cell in zip(samples_of(config, cells), cells, strict=True) if cell["method.name"] == "hamu-q"
    ]
    assert found == [2] * 8


def test_each_forget_objective_of_a_method_has_its_budget() -> None:
    """A method with another forget objective is another method, as its paper has it."""
    objectives = {"grid": [None, "wga", "npo"], "when": {"method.name": "hamu-q"}}
    config = sweep_of(space={"method.forget_objective": objectives})
    cells = list(config.cells())
    found = {
        (cell["method.name"], cell.get("method.forget_objective"), cell["forget.rho"]): samples
        for samples, cell in zip(samples_of(config, cells), cells, strict=True)
    }
    each = [("hamu-q", None), ("hamu-q", "wga"), ("hamu-q", "npo"), ("ft", None)]
    assert found == {(*one, rho): 20 if one[0] == "ft" else 10 for one in each for rho in (0.0, 0.5)}


def test_the_numbers_of_trials() -> None:
    assert positions([2, 2, 2]) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert positions([1, 3]) == [(0, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (sweep_of(39), "39 do not pay for a trial of hamu-q in each of its 2 cells: 2 x 20"),
        (sweep_of(duration={"epochs": 1}), "search.budget.gradients: needs duration.steps, the same in all"),
        (
            sweep_of(space={"duration.steps": {"int": [5, 10]}}),
            "search.budget.gradients: needs duration.steps",
        ),
        (
            sweep_of(space={"method.name": {"choice": ["hamu-q", "ft"]}}),
            "methods that are fixed or in a grid",
        ),
    ],
)
def test_budgets_that_buy_nothing_known(config: SweepConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trials_of(config)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"samples": 4, "budget": {"gradients": 400}}, "give samples or budget, not both"),
        ({"budget": {"seconds": 60}}, "budget.seconds needs samples: the most trials of a cell"),
        ({"budget": {}}, "give gradients or seconds"),
        ({"budget": {"gradients": 400, "seconds": 60}}, "give gradients or seconds"),
        ({"samples": 4, "budget": {"seconds": 60, "edit": 5}}, "edit: the gradients of an edit"),
    ],
)
def test_samples_or_a_budget(search: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sweep_of(search=search)


def test_a_budget_of_seconds_leaves_the_samples() -> None:
    """Trials need not have the same steps, since they are counted when they end."""
    space = {"duration.steps": {"int": [5, 10]}}
    config = sweep_of(space=space, search={"samples": 50, "budget": {"seconds": 60}})
    assert samples_of(config, list(config.cells())) == [50] * 4
    with pytest.raises(ValueError, match="methods that are fixed or in a grid"):
        trials_of(sweep_of(space={"method.name": {"choice": ["hamu-q", "ft"]}}, search=config.search))


def rungs(search: dict[str, object], **sections: object) -> list[int]:
    document = {
        "duration": {"steps": 90},
        "search": {"scheduler": {"steps": [10, 30, 90]}, **search},
        **sections,
    }
    config = SweepConfig.model_validate({"space": SPACE, **document})
    return samples_of(config, list(config.cells()))


def test_rungs_leave_a_trial_of_each_cell() -> None:
    assert rungs({"samples": 9}) == [9] * 4, "the last step is no pause"
    with pytest.raises(
        ValueError, match=r"2 rungs with reduction 3 need 9 or more samples of each cell.* found 8"
    ):
        rungs({"samples": 8})
    with pytest.raises(ValueError, match=r"3 rungs .* need 27 or more"):
        rungs({"samples": 9}, duration={"epochs": 3})
    longer = {**SPACE, "duration.steps": {"choice": [20, 90]}}
    assert rungs({"samples": 9}, duration={"steps": 20}, space=longer) == [9] * 4, "the space decides"


@pytest.mark.parametrize(
    ("search", "sections", "message"),
    [
        ({"scheduler": {"steps": [10, 100]}}, {}, "steps: 100 is beyond the last step of a trial"),
        (
            {},
            {"space": {**SPACE, "duration.steps": {"choice": [20, 80]}}},
            "90 is beyond the last step of a trial, 80 by duration and stop.after_steps",
        ),
        ({}, {"stop": {"after_steps": 40}}, "90 is beyond the last step of a trial, 40"),
        ({}, {"duration": {"epochs": 9}, "stop": {"after_steps": 40}}, "90 is beyond .* trial, 40"),
        (
            {},
            {
                "space": {
                    **SPACE,
                    "duration.steps": {"choice": [90, 40]},
                    "stop.after_steps": {"choice": [20, 60]},
                }
            },
            r"^stop\.after_steps: 60 is beyond the last step, duration\.steps 40; lower it",
        ),
        ({}, {"evaluation": {"enabled": False}}, "evaluation.enabled false measures none"),
        ({"scheduler": {"steps": [30, 10]}}, {}, r"must ascend, found \[30, 10\]"),
        ({"pruning": {}}, {}, "give pruning or scheduler, not both"),
        ({}, {"space": {**SPACE, "seed": {"grid": [1, 2]}}}, "rungs do not compare means over seeds"),
    ],
)
def test_rungs_that_cannot_be(search: dict[str, object], sections: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rungs({"samples": 9, **search}, **sections)


EPOCHS = {"duration": {"epochs": 8}, "batch": {"retain": 100}}


@pytest.mark.parametrize(
    ("space", "sections", "message"),
    [
        (
            {"duration.epochs": {"int": [2, 8]}},
            {"stop": {"after_steps": 30}},
            r"^stop\.after_steps: 30 is beyond the last step, duration\.epochs 2, which are 20",
        ),
        (
            {"batch.{retain,forget}": {"choice": [100, 500]}},
            {"stop": {"after_steps": 30}},
            r"duration\.epochs 8, which are 16;",
        ),
        ({}, {"search": {"scheduler": {"steps": [10, 81]}, "samples": 9}}, "81 is beyond .* trial, 80 by"),
    ],
)
def test_steps_that_follow_from_epochs(space: dict, sections: dict, message: str) -> None:
    """Of the shortest trials for a step at which all stop, of the longest for a rung."""
    config = SweepConfig.model_validate({"space": {**SPACE, **space}, **EPOCHS, **sections})
    assert trials_of(config), "it cannot be known without the number of retain examples"
    check_steps(config, ())
    check_steps(config, (10_000,))
    with pytest.raises(ValueError, match=message):
        check_steps(config, (1000,))
