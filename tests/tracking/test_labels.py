import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.results.wording import describe
from hamu_ray.tracking.labels import labels_of


@pytest.mark.parametrize(
    ("method", "constraint"),
    [
        ({"name": "hamu-q", "constraint_ratio": 0.3}, {"constraint_ratio": 0.3}),
        ({"name": "hamu-q"}, {"constraint_fraction": 0.25}),
        ({"name": "hamu-u"}, {"constraint_fraction": 0.8}),
        ({"name": "hamu-q", "constraint": 0.1}, {"constraint": 0.1}),
        ({"name": "gdiff", "constraint_ratio": 0.3}, {}),
    ],
)
def test_the_constraint_is_there_where_the_method_has_one(method, constraint):
    run = RunConfig.model_validate({"seed": 7, "method": method, "optimizer": {"learning_rate": 0.02}})
    common = {"method": method["name"], "seed": 7, "rho": 0.0, "learning_rate": 0.02}
    assert labels_of(run) == {**common, **constraint}


def test_rho_is_there_where_the_forget_set_has_it():
    run = RunConfig.model_validate({"forget": {"kind": "random", "share": 0.1}})
    assert "rho" not in labels_of(run)


def test_a_name_fits_into_a_list():
    parameters = {
        "seed": 41,
        "method.constraint_ratio": 0.4,
        "optimizer.learning_rate": 0.012,
        "method.name": "hamu-q",
    }
    assert describe(parameters) == "hamu-q lr 0.012 ratio 0.4 seed 41"
