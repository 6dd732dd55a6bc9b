"""Spot notices, from an HTTP server that answers as the metadata services of AWS and Google Cloud do."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.client import IncompleteRead
from pathlib import Path

import pytest

from hamu_ray.workers.nodes.spot import (
    NOTICES,
    SOURCES,
    Source,
    aws_notice,
    google_notice,
    source_here,
    spot_notices_watched,
)
from tests.metadata_service import MetadataService

ENDS = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    with closing(MetadataService()) as server:
        yield server


@pytest.fixture(autouse=True)
def _proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to a proxy would fail."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv(NOTICES, raising=False)


def test_aws_says_when_the_instance_ends(metadata: MetadataService) -> None:
    assert aws_notice(metadata.address) is None
    metadata.take(ENDS)
    assert aws_notice(metadata.address) == ENDS.timestamp()


def test_google_says_that_the_instance_ends_within_thirty_seconds(metadata: MetadataService) -> None:
    assert google_notice(metadata.address) is None
    metadata.take()
    ends = google_notice(metadata.address)
    assert ends is not None
    assert 25 < ends - time.time() <= 30


@pytest.mark.parametrize("cloud", SOURCES)
def test_a_notice_is_passed_on_once_and_outages_are_waited_out(cloud: str, metadata: MetadataService) -> None:
    noticed, received = threading.Event(), []

    def on_notice(deadline: float) -> None:
        received.append(deadline)
        noticed.set()

    metadata.down = True
    with spot_notices_watched(Source(SOURCES[cloud].read, metadata.address), on_notice, 0.02):
        wait_for_requests(metadata, 2)
        metadata.down = False
        wait_for_requests(metadata, 2)
        assert not received
        metadata.take()
        assert noticed.wait(10)
        time.sleep(0.2)
    assert len(received) == 1


def test_what_fails_is_tried_again() -> None:
    """The answer is cut off, then none of the right form, and Ray refuses to drain once."""
    answers: list[Exception | float] = [IncompleteRead(b""), TypeError("null"), 1.0, 2.0]
    noticed, received = threading.Event(), []

    def read(_: str) -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_notice(deadline: float) -> None:
        received.append(deadline)
        if len(received) == 1:
            raise RuntimeError("the head does not answer")
        noticed.set()

    with spot_notices_watched(Source(read, "nowhere"), on_notice, 0.02):
        assert noticed.wait(10)
        time.sleep(0.1)
    assert received == [1.0, 2.0]


def test_the_watch_ends_with_the_worker(metadata: MetadataService) -> None:
    with spot_notices_watched(Source(google_notice, metadata.address), pytest.fail, 0.02):
        wait_for_requests(metadata, 2)
    (watch,) = [thread for thread in threading.enumerate() if thread.name == "spot"] or [None]
    if watch is not None:
        watch.join(10)
        assert not watch.is_alive()


def wait_for_requests(metadata: MetadataService, more: int) -> None:
    until, deadline = metadata.requests + more, time.monotonic() + 10
    while metadata.requests < until:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("files", "cloud"),
    [
        ({"sys_vendor": "Amazon EC2\n", "product_name": "g6.12xlarge"}, "aws"),
        ({"sys_vendor": "Xen", "bios_version": "4.11.amazon"}, "aws"),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine\n"}, "gcp"),
        ({"sys_vendor": "Google", "product_name": "Eve"}, None),
        ({"sys_vendor": "LENOVO"}, None),
        ({}, None),
    ],
)
def test_only_machines_of_a_cloud_are_watched(
    files: dict[str, str], cloud: str | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert source_here(tmp_path) == (SOURCES[cloud] if cloud else None)


def test_the_environment_names_another_address_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sys_vendor").write_text("Amazon EC2")
    monkeypatch.setenv(NOTICES, "off")
    assert source_here(tmp_path) is None
    monkeypatch.setenv(NOTICES, "gcp=http://127.0.0.1:1")
    assert source_here(tmp_path) == Source(google_notice, "http://127.0.0.1:1")
