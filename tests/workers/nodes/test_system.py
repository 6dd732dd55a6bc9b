"""Samples of a node's CPU, memory and GPUs."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

from hamu_ray.workers.messages import SystemSample
from hamu_ray.workers.nodes import system
from hamu_ray.workers.nodes.system import SECONDS, SystemMetrics, gpus, host
from hamu_ray.workers.ray_private import nvml


def test_a_job_has_a_sample_at_once_and_then_at_the_cadence() -> None:
    now = [100.0]
    metrics = SystemMetrics("10.0.0.3/4f2a", lambda: now[0])
    assert metrics.due() is None, "no job asks for it"
    for _ in range(2):
        metrics.begin(True)
        sample = metrics.due()
        assert sample is not None
        assert sample.node == "10.0.0.3/4f2a"
        assert metrics.due() is None
        now[0] += SECONDS
        assert metrics.due() is not None
    metrics.begin(False)
    assert metrics.due() is None


def test_a_node_that_cannot_be_sampled_does_not_end_the_heartbeat(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(watch: float | None) -> dict[str, float]:
        raise OSError("/proc/stat: no such file")

    monkeypatch.setattr(system, "host", unreadable)
    metrics = SystemMetrics("10.0.0.3/4f2a")
    metrics.begin(True)
    assert metrics.due() is None
    assert metrics.due() is None
    assert len(caplog.records) == 1, "it is said once"


def test_the_first_sample_of_a_thread_has_its_cpu() -> None:
    """`psutil` keeps the last times by thread, and a thread's first call returns 0 by itself."""
    busy = threading.Event()
    spinning = threading.Thread(target=lambda: [None for _ in iter(busy.is_set, True)])
    spinning.start()
    found: list[SystemSample | None] = []
    metrics = SystemMetrics("10.0.0.3/4f2a")
    metrics.begin(True)
    sampling = threading.Thread(target=lambda: found.append(metrics.due()))
    sampling.start()
    sampling.join()
    busy.set()
    spinning.join()
    (sample,) = found
    assert sample is not None
    assert sample.metrics["cpu_utilization_percentage"] > 0


def test_names_and_units_are_those_of_mlflow() -> None:
    monitor = CPUMonitor()
    monitor.collect_metrics()
    theirs, ours = monitor.aggregate_metrics(), host()
    assert ours.keys() == theirs.keys()
    for name in ("system_memory_usage_megabytes", "system_memory_usage_percentage"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.1)


def test_a_gpu_that_reports_only_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a part of a GPU (MIG) does; on this machine there may be none."""

    def none(gpu: Any) -> Any:
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(system, "_gpus", lambda: ["a"])
    monkeypatch.setattr(
        nvml, "nvmlDeviceGetMemoryInfo", lambda gpu: SimpleNamespace(used=20_000_000, total=80_000_000)
    )
    monkeypatch.setattr(nvml, "nvmlDeviceGetUtilizationRates", none)
    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", none)
    assert gpus() == {"gpu_0_memory_usage_megabytes": 20.0, "gpu_0_memory_usage_percentage": 25.0}
