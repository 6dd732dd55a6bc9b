"""Calls in processes of a cluster: results, errors and deaths."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from hamu_ray.config.run import RunConfig
from hamu_ray.results.outcome import Failure

pytestmark = pytest.mark.ray


def test_each_call_ends_with_its_result_or_with_why_there_is_none(cluster: None) -> None:
    from hamu_ray.workers.calls import calls

    def call(argument: Any) -> int:
        if argument.number == 2:
            raise ValueError("two\nlines")
        if argument.number == 3:
            os._exit(1)
        return int(argument.number**2)

    arguments: list[Any] = [SimpleNamespace(run=RunConfig(), number=number) for number in range(5)]
    found = {argument.number: end for argument, end in calls(call, arguments)}
    assert {number: found[number] for number in (0, 1, 4)} == {0: 0, 1: 1, 4: 16}
    assert found[2] == Failure("ValueError: two")
    assert isinstance(found[3], Failure)
    assert found[3].reason.startswith("its process ended: ")
