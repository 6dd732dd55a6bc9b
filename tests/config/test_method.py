"""The method section of the schema against the registry of methods."""

from typing import get_args

from hamu_ray.config.method import MethodConfig
from hamu_ray.methods import FORGET_OBJECTIVES, METHOD_NAMES, keys_of


def test_every_forget_objective_has_a_name_here() -> None:
    choices, none = get_args(MethodConfig.model_fields["forget_objective"].annotation)
    assert none is type(None)
    assert get_args(choices) == tuple(FORGET_OBJECTIVES)


def test_every_key_is_read_by_a_method_and_every_key_read_is_here() -> None:
    read = {
        key for name in METHOD_NAMES for objective in FORGET_OBJECTIVES for key in keys_of(name, objective)
    }
    assert read | {"name"} == set(MethodConfig.model_fields)
