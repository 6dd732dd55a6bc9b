"""The method section of the schema against the registry of methods."""

import pickle
from typing import get_args

import pytest

from hamu_ray.config.method import MethodConfig
from hamu_ray.config.run import RunConfig
from hamu_ray.config.sources.files import ConfigError, check_run_document
from hamu_ray.methods import FORGET_OBJECTIVES, METHODS, all_hyperparameters, hyperparameters_of, keys_of


def section(**values: object) -> MethodConfig:
    """The section in a run on texts, on which every method is defined."""
    return RunConfig.model_validate({"data": {"name": "tofu"}, "method": values}).method


def error_of(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        check_run_document({"method": values}, "run.yaml")
    return str(caught.value)


def test_every_forget_objective_has_a_name_here() -> None:
    choices, none = get_args(MethodConfig.current().model_fields["forget_objective"].annotation)
    assert none is type(None)
    assert get_args(choices) == tuple(FORGET_OBJECTIVES)


def test_the_keys_are_those_of_the_records() -> None:
    read = {key for name in METHODS for objective in FORGET_OBJECTIVES for key in keys_of(name, objective)}
    assert read | {"name"} == set(MethodConfig.current().model_fields)
    for owner, each in all_hyperparameters():
        assert f"{each.summary}" in (MethodConfig.current().model_fields[each.name].description or ""), owner


@pytest.mark.parametrize("name", METHODS)
def test_a_section_without_values_has_the_method_s_defaults(name: str) -> None:
    method = section(name=name)
    assert method.hyperparameters == METHODS[name].hyperparameters()
    assert method.used.keys() == keys_of(name) | {"name"}
    for key, each in hyperparameters_of(name).items():
        assert method.used[key] in (each.default, None)


def test_null_is_the_default_of_the_method_where_methods_differ() -> None:
    assert section(name="npo").used["beta"] is None
    assert section(name="ga", forget_objective="simnpo", beta=0.3).used["beta"] == 0.3


def test_hyperparameters_of_other_methods_are_checked_and_ignored() -> None:
    assert section(name="ft", retain_weight=0.3).used == {"name": "ft"}
    assert error_of(name="ft", retain_weight=1.3) == (
        "run.yaml: method.retain_weight: expected a number of at most 1, found 1.3"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retain_wieght": 0.3}, "method.retain_wieght: unknown key; did you mean retain_weight?"),
        ({"name": "gdif"}, "method.name: unknown method 'gdif'; did you mean gdiff?"),
        ({"radius": -1.0}, "method.radius: expected lr or a number above 0, found -1.0"),
        ({"trust_region": 1}, "method.trust_region: expected true or false, found 1"),
        ({"target": "original"}, "method.target: expected reference, found 'original'"),
    ],
)
def test_mistakes_are_one_line(values: dict[str, object], message: str) -> None:
    assert error_of(**values).startswith(f"run.yaml: {message}")


def test_a_section_is_sent_as_plain_data() -> None:
    method = section(name="gdiff", retain_weight=0.3)
    again = pickle.loads(pickle.dumps(method))
    assert again == method
    assert again.model_fields_set == {"name", "retain_weight"}
