"""Notices of a cloud that it will take a spot node back: the node is drained, and its trials continue elsewhere.

A cloud tells an instance so at its metadata address: AWS two minutes before, Google Cloud thirty seconds.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from hamu_ray.workers.ray_private import drain_this_node

logger = logging.getLogger(__name__)

NOTICES = "HAMU_RAY_SPOT_NOTICES"
"""Environment variable of a node: ``off``, or ``aws=URL`` or ``gcp=URL`` for another metadata address."""

POLL_SECONDS = 3.0
"""Interval between two requests."""

ANSWER_SECONDS = 2.0
"""Time limit of a request."""

GOOGLE_SECONDS = 30.0
"""Time between Google Cloud's notice and the end of the instance."""

FIRMWARE = Path("/sys/class/dmi/id")
"""Where Linux shows who made the machine."""


@dataclass(frozen=True)
class Source:
    """Where a node's notice is read."""

    read: Callable[[str], float | None]
    """Returns when the instance ends (Unix time), None without a notice, given the address."""
    address: str


def aws_notice(address: str) -> float | None:
    """Return when AWS takes the instance, by its metadata service of version 2; None without a notice.

    Raises:
        OSError: The service does not answer.
    """
    token = ask(f"{address}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    try:
        headers = {"X-aws-ec2-metadata-token": token}
        notice = json.loads(ask(f"{address}/latest/meta-data/spot/instance-action", headers))
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
    return datetime.fromisoformat(notice["time"]).timestamp()


def google_notice(address: str) -> float | None:
    """Return when Google Cloud takes the instance; None without a notice.

    Raises:
        OSError: The metadata server does not answer.
    """
    answer = ask(f"{address}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return time.time() + GOOGLE_SECONDS if answer.strip() == "TRUE" else None


def ask(url: str, headers: Mapping[str, str], method: str = "GET") -> str:
    """Return the answer to a request, which no proxy sees."""
    opener = build_opener(ProxyHandler({}))
    with opener.open(Request(url, headers=dict(headers), method=method), timeout=ANSWER_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


SOURCES = {
    "aws": Source(aws_notice, "http://169.254.169.254"),
    "gcp": Source(google_notice, "http://metadata.google.internal"),
}


def source_here(firmware: Path = FIRMWARE) -> Source | None:
    """Return where this node's notice is read; None on a machine of no such cloud. No request is made."""
    cloud, _, address = os.environ.get(NOTICES, "").partition("=")
    if cloud in SOURCES and address:
        return Source(SOURCES[cloud].read, address)
    if cloud == "off":
        return None
    names = {name: firmware_text(firmware / name) for name in ("sys_vendor", "bios_version", "product_name")}
    if "amazon" in f"{names['sys_vendor']} {names['bios_version']}".lower():
        return SOURCES["aws"]
    return SOURCES["gcp"] if names["product_name"] == "Google Compute Engine" else None


def firmware_text(file: Path) -> str:
    """Return what the firmware says; empty if it cannot be read."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def drain(deadline: float) -> None:
    """Drain this node: its trials write a checkpoint and continue on other nodes.

    Raises:
        OSError: Ray refuses.
    """
    logger.warning("the cloud takes this node in %.0f s: it is drained", deadline - time.time())
    if not drain_this_node("spot notice", deadline):
        raise OSError("Ray does not drain the node")


@contextmanager
def spot_notices_watched(
    source: Source | None,
    on_notice: Callable[[float], object] = drain,
    interval: float = POLL_SECONDS,
) -> Iterator[None]:
    """Within, call ``on_notice`` with the time at which this node ends, as soon as the cloud has announced it.

    If that fails, it is called again. By default, the node is drained. Nothing is watched without a source.
    """
    over = threading.Event()
    if source is not None:
        watch = threading.Thread(
            target=_watch, args=(source, on_notice, interval, over), name="spot", daemon=True
        )
        watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(
    source: Source, on_notice: Callable[[float], object], interval: float, over: threading.Event
) -> None:
    silent = False
    while not over.wait(interval):
        try:
            deadline = source.read(source.address)
            if deadline is not None:
                on_notice(deadline)
                return
        except Exception as error:  # of the HTTP client, of answers of any form, and of Ray's
            if not silent:
                logger.warning("spot notices: %s: %s; asking again", source.address, error)
            silent = True
