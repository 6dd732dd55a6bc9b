"""A Postgres server of its own, where Postgres is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_ports

PROGRAMS = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/pgsql").parent.glob("pgsql-*/bin")]
"""Where Debian and Red Hat install the programs that are not on the path."""


def program(name: str) -> str | None:
    """Return the path of one of Postgres' programs, None if it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, PROGRAMS)]))


@contextmanager
def postgres() -> Iterator[str]:
    """Within this context, an empty database is available at this URI. Requires `program("initdb")`."""
    owner = unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if owner is not None:
        os.chown(folder, pwd.getpwnam(owner).pw_uid, -1)
    (port,) = free_ports(1)

    def run(name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        done = subprocess.run(
            [path, "-D", f"{folder}/data", *arguments],
            cwd=folder,
            user=owner,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run("initdb", "--username=mlflow", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unprivileged_user() -> str | None:
    """Return the user who runs the server, None for the current one: Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
