"""Calls in processes of a cluster: results, errors and deaths."""

import os
from dataclasses import dataclass

import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.results.outcome import Failure

pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Argument:
    run: RunConfig
    number: int


def test_each_call_ends_with_its_result_or_with_why_there_is_none(cluster: None) -> None:
    from hamu_ray.workers.calls import calls

    def call(argument: Argument) -> int:
        if argument.number == 2:
            raise ValueError("two\nlines")
        if argument.number == 3:
            os._exit(1)
        return argument.number**2

    found = {
        argument.number: end for argument, end in calls(call, [Argument(RunConfig(), n) for n in range(5)])
    }
    assert {number: found[number] for number in (0, 1, 4)} == {0: 0, 1: 1, 4: 16}
    assert found[2] == Failure("ValueError: two")
    assert found[3].reason.startswith("its process ended: ")
