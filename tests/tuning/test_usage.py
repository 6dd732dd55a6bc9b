"""The summary's share of time in steps: never more than all of it."""

import math

from hamu_ray.tuning.usage import Usage


def test_two_trials_that_work_most_of_the_time() -> None:
    usage = Usage(began=10.0, at_once=2)
    usage.end(began=5.0, now=20.0, worked=8.0)
    usage.end(began=10.0, now=30.0, worked=16.0)
    assert usage.seconds == 20.0
    assert usage.share == 24 / 40


def test_what_a_killed_driver_worked_is_not_of_this_one() -> None:
    usage = Usage(began=10.0, at_once=1)
    usage.end(began=9.9, now=10.1, worked=3600.0)  # ended before: its reports are replayed
    usage.end(began=10.1, now=20.0, worked=500.0)  # resumed from a checkpoint
    assert usage.share == 1.0


def test_a_trial_that_failed_worked_nothing_that_is_known() -> None:
    usage = Usage(at_once=1)
    usage.end(began=9.0, now=10.0, worked=math.nan)
    assert usage.worked == 0.0


def test_gpus_that_wait_are_idle() -> None:
    usage = Usage(began=0.0, at_once=1, gpu_seconds_held=1200.0)
    usage.end(began=0.0, now=300.0, worked=240.0, gpus=2.0)
    assert usage.idle_gpu_minutes == 12.0
    assert Usage(began=0.0, gpu_seconds=1.0).idle_gpu_minutes == 0.0
