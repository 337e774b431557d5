"""A PostgreSQL of one's own: a private cluster in a temporary folder, on a loopback port."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "tuner"
PASSWORD = "pa ss@1"
QUOTED = "pa%20ss%401"


def programs() -> Path:
    """The folder of the server's programs; skips the test where there are none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    if not folders:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    return folders[-1]


class PostgresqlServer:
    """A running server."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self._bin = bin_folder
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def make(self) -> None:
        """An empty cluster whose users need a password."""
        (self._folder / "password").write_text(PASSWORD + "\n")
        self._run(
            "initdb", "-D", str(self._folder / "data"), "-U", USER, "-A", "scram-sha-256",
            "--pwfile", str(self._folder / "password"), "-E", "UTF8", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._run(
            "pg_ctl", "-D", str(self._folder / "data"), "-l", log, "-o", options, "-w", "start"
        )

    def stop(self) -> None:
        """Stops it; open connections are cut."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def new_url(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname="postgres"
        ) as connection:
            connection.autocommit = True
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        become = ["runuser", "-u", _somebody(), "--"] if os.geteuid() == 0 else []
        command = [*become, str(self._bin / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=self._folder, timeout=120, check=False
        )
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            done.check_returncode()


def _somebody() -> str:
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that is gone with its data at the end."""
    bin_folder = programs()
    # Outside of pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="autotuner-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, _somebody())
        server = PostgresqlServer(bin_folder, folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
