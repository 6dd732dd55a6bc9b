"""TCP ports for servers that tests start."""

import random
import socket
from contextlib import ExitStack

LOWEST, HIGHEST = 20_000, 32_000
"""Above the ports that Ray gives its workers (10002 to 19999), below those of outgoing connections (from 32768 on)."""


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on, no two the same.

    A port that the kernel chooses for port 0 may become an outgoing connection's before the server has it.
    """
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
            if len(found) == count:
                return found
            listener = held.enter_context(socket.socket())
            try:
                listener.bind(("", port))
            except OSError:
                continue
            found.append(port)
    raise RuntimeError(f"no {count} free ports")


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    return free_ports(1)[0]
