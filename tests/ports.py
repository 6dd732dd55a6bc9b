"""TCP ports for servers that tests start."""

import random
import socket
from itertools import islice

LOWEST, HIGHEST = 20_000, 32_000
"""Above the ports that Ray assigns to its workers (10002 to 19999), below those of outgoing connections (from 32768).
"""


def free_ports(count: int) -> list[int]:
    """Return distinct free ports of this machine.

    A port that the kernel chooses for port 0 may be taken by an outgoing connection before the server uses it.
    """
    candidates = random.SystemRandom().sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST)
    found = list(islice((port for port in candidates if are_free(port)), count))
    assert len(found) == count, "no free ports"
    return found


def free_port() -> int:
    """Return a free port of this machine."""
    return free_ports(1)[0]


def are_free(port: int, count: int = 1) -> bool:
    """Whether this many ports in a row are free."""
    for each in range(port, port + count):
        with socket.socket() as listener:
            try:
                listener.bind(("", each))
            except OSError:
                return False
    return True
