"""When a worker makes progress, and when a group hangs."""

import copy
import json
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamu_ray.workers.heartbeat import HANG_FACTOR, HangDetector, Heartbeat, heartbeat_interval

HANDLE: Any = object()
MINUTE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def detector(clock: Clock, hang_seconds: float = 5 * MINUTE) -> HangDetector:
    made = HangDetector(hang_seconds, clock)
    made.enroll(0, HANDLE)
    return made


def test_silence_up_to_the_limit_is_no_hang() -> None:
    clock = Clock()
    group = detector(clock)
    clock.now = 5 * MINUTE
    assert not group.hung
    clock.now += 1
    assert group.hung
    group.beat()
    assert not group.hung


@given(st.lists(st.floats(0, 10 * MINUTE), min_size=1, max_size=10))
def test_the_longest_interval_so_far_decides(intervals: list[float]) -> None:
    clock = Clock()
    group = detector(clock)
    for seconds in intervals:
        clock.now += seconds
        group.beat()
    assert group.limit == pytest.approx(max(5 * MINUTE, HANG_FACTOR * max(intervals)))
    assert group.silence == 0


def test_time_without_a_job_or_without_workers_is_no_silence() -> None:
    clock = Clock()
    group = HangDetector(5 * MINUTE, clock)
    clock.now = 60 * MINUTE
    assert not group.hung, "nobody has enrolled yet"
    group.enroll(0, HANDLE)
    clock.now += 60 * MINUTE
    group.begin()
    assert not group.hung
    group.beat()
    assert group.limit == 5 * MINUTE, "an idle hour says nothing about the next job"


def test_after_a_hang_the_next_group_gets_twice_the_time() -> None:
    clock = Clock()
    group = detector(clock)
    clock.now = 6 * MINUTE
    assert group.give_up() == [HANDLE]
    assert not group.hung
    clock.now += 60 * MINUTE
    group.enroll(0, HANDLE)
    clock.now += 10 * MINUTE
    assert not group.hung
    clock.now += 1
    assert group.hung


def test_looks_are_frequent_enough_for_the_limit() -> None:
    assert heartbeat_interval(900) == 10
    assert heartbeat_interval(3) < 1


def beats_while(act: Any, seconds: float = 0.01) -> list[float]:
    beats: list[float] = []
    with Heartbeat(lambda: beats.append(time.monotonic()), seconds) as heartbeat:
        act(heartbeat)
    return beats


def test_a_thread_that_waits_sends_nothing_and_one_that_works_does() -> None:
    lock = threading.Lock()
    lock.acquire()
    waiting = beats_while(lambda heartbeat: lock.acquire(timeout=0.5))
    assert 1 <= len(waiting) <= 3, "at the start, and where it waits"

    def work(heartbeat: Heartbeat) -> None:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            time.sleep(0.004)
            json.dumps(sorted(range(1000)), indent=1)
            time.sleep(0.004)
            copy.deepcopy([{}] * 100)

    assert len(beats_while(work)) > 10


def test_reports_are_progress_even_from_the_same_line() -> None:
    def report(heartbeat: Heartbeat) -> None:
        lock = threading.Lock()
        lock.acquire()
        ticking = threading.Thread(
            target=lambda: [heartbeat.count_report() or time.sleep(0.02) for _ in range(20)]
        )
        ticking.start()
        lock.acquire(timeout=0.5)
        ticking.join()

    assert len(beats_while(report)) > 10


def test_a_heartbeat_ends_with_its_worker() -> None:
    beats = beats_while(lambda heartbeat: None)
    time.sleep(0.1)
    assert len(beats) <= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
