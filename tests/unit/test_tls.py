"""Certificates of a listener: what is refused at the start, what a change does, what is said."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from otel_ingest.budget import Budget
from otel_ingest.config import Settings
from otel_ingest.http1 import HttpRequest
from otel_ingest.http_app import build_http_server
from otel_ingest.limits import Limits
from otel_ingest.listener import HttpListener
from otel_ingest.tls import Certificates, TlsError, load, watch
from otel_ingest.tls_settings import TlsFiles
from tests.certificates import Authority, Files
from tests.rig import MIB


def files_of(files: Files, client_ca: Path | None = None) -> TlsFiles:
    """Return the server's view of certificate files."""
    return TlsFiles(files.cert, files.key, client_ca)


async def app(scope: dict[str, str], receive: object, send: object) -> None:
    """Answer everything with 204 (ASGI)."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def receive(request: HttpRequest) -> None:
    """Answer everything with 204, as the receiver's server is asked."""
    request.respond(204, "text/plain", b"")


Serve = Callable[[Certificates], AbstractAsyncContextManager[int]]


@pytest.fixture(params=["receiver", "query side"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Return what serves on a free port, which it yields: both servers that speak HTTP."""

    @asynccontextmanager
    async def serving(certificates: Certificates) -> AsyncIterator[int]:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)  # noqa: FBT003
        port = sock.getsockname()[1]
        if request.param == "receiver":
            server = build_http_server(receive, Limits(), Budget(MIB), sock, certificates.ssl_context())
            await server.start()
            yield port
            await server.stop(5)
        else:
            listener = HttpListener(app, sock, drain_timeout_s=5, certificates=certificates)
            await listener.start()
            yield port
            await listener.stop()

    return serving


async def handshake(port: int, context: ssl.SSLContext) -> tuple[int, asyncio.StreamWriter, object]:
    """Connect; return the serial number of the certificate that was shown, the writer and the reader."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    return int(writer.get_extra_info("peercert")["serialNumber"], 16), writer, reader


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send one request on an open connection; return the status line."""
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return answer.split(b"\r\n")[0]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return a CA of this test."""
    return Authority(tmp_path / "pki")


def test_what_cannot_be_used_is_said(authority: Authority, tmp_path: Path) -> None:
    """Each wrong file: an error that names it and what is wrong, never the key."""
    one, other = authority.issue("one"), authority.issue("other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN NOTHING-----\n")
    cases = {
        "no such file": TlsFiles(tmp_path / "absent.pem", one.key, None),
        "do not belong together": TlsFiles(one.cert, other.key, None),
        "holds no PEM certificate": TlsFiles(garbage, one.key, None),
        "cannot be used": TlsFiles(one.cert, garbage, None),
        "holds no CA": TlsFiles(one.cert, one.key, garbage),
    }

    for expected, files in cases.items():
        with pytest.raises(TlsError, match=expected):
            load(files)


def test_a_key_with_a_passphrase_is_refused_without_asking(authority: Authority) -> None:
    """OpenSSL would ask on the terminal; here it is a sentence."""
    from cryptography.hazmat.primitives import serialization as s

    files = authority.issue("locked")
    key = s.load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x"))
    files.key.write_bytes(locked)

    with pytest.raises(TlsError, match="passphrase"):
        load(files_of(files))


def test_an_expired_certificate_is_warned_of(authority: Authority) -> None:
    """It is used all the same: the operator is told, the clients decide."""
    with capture_logs() as logs:
        Certificates("http", files_of(authority.issue("old", expired=True)))

    assert [entry["event"] for entry in logs] == ["the certificate has expired"]


async def test_new_files_are_used_and_open_connections_stay(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """A directory swapped by symlink, as Kubernetes does it: the next handshake has the new one, the old one works."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        files = authority.issue("tls")
        files.cert.rename(tmp_path / version / "tls.crt")
        files.key.rename(tmp_path / version / "tls.key")
    (tmp_path / "data").symlink_to("v1")
    certificates = Certificates("http", TlsFiles(tmp_path / "data" / "tls.crt", tmp_path / "data" / "tls.key", None))
    async with serve(certificates) as port:
        context = ssl.create_default_context(cafile=authority.ca_file)
        watching = asyncio.create_task(watch([certificates], 0.02))

        before, writer, reader = await handshake(port, context)
        assert isinstance(reader, asyncio.StreamReader)
        assert await ask(reader, writer) == b"HTTP/1.1 204 No Content"
        (tmp_path / "data.new").symlink_to("v2")
        os.replace(tmp_path / "data.new", tmp_path / "data")  # noqa: PTH105
        async with asyncio.timeout(10):
            while True:
                after, second, _ = await handshake(port, context)
                second.close()
                if after != before:
                    break
                await asyncio.sleep(0.02)
        assert await ask(reader, writer) == b"HTTP/1.1 204 No Content"

        watching.cancel()
        writer.close()


async def test_a_broken_new_pair_keeps_the_former_one(serve: Serve, authority: Authority) -> None:
    """A certificate without its key: said once, the former pair serves on, and a whole pair is taken."""
    files = authority.issue("tls")
    certificates = Certificates("http", files_of(files))
    async with serve(certificates) as port:
        context = ssl.create_default_context(cafile=authority.ca_file)
        before, writer, _ = await handshake(port, context)
        writer.close()

        other = authority.issue("other")
        files.cert.write_bytes(other.cert.read_bytes())
        with capture_logs() as logs:
            assert [certificates.reload() for _ in range(3)] == [False, False, False]
        assert [(e["log_level"], "do not belong together" in e["reason"]) for e in logs] == [("error", True)]
        during, writer, _ = await handshake(port, context)
        writer.close()
        files.key.write_bytes(other.key.read_bytes())
        assert certificates.reload()
        after, writer, _ = await handshake(port, context)
        writer.close()

        assert before == during != after


async def test_clients_of_a_removed_ca_are_refused(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    """Also with a session of before: what a CA vouched for ends with it."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    bundle = tmp_path / "clients.pem"
    bundle.write_bytes(old.ca_file.read_bytes())
    certificates = Certificates("http", files_of(authority.issue("tls"), bundle))
    async with serve(certificates) as port:
        client = old.issue("client")
        context = ssl.create_default_context(cafile=authority.ca_file)
        context.load_cert_chain(client.cert, client.key)

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            session = await asyncio.to_thread(blocking_exchange, port, context, None)
            bundle.write_bytes(new.ca_file.read_bytes())
            assert certificates.reload()
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.to_thread(blocking_exchange, port, context, session)
            bundle.write_bytes(old.ca_file.read_bytes())
            assert certificates.reload()


def blocking_exchange(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """Make one request with ``session``; return the session for the next connection."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost", session=session) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := sock.recv(1000):
            answer += piece
        assert b" 204 " in answer or not answer
        if not answer:
            raise ConnectionResetError
        return sock.session


async def test_old_protocols_are_refused(serve: Serve, authority: Authority) -> None:
    """TLS 1.1 and older: no handshake."""
    async with serve(Certificates("http", files_of(authority.issue("tls")))) as port:
        context = ssl.create_default_context(cafile=authority.ca_file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await handshake(port, context)


async def test_plaintext_is_answered_in_words(serve: Serve, authority: Authority) -> None:
    """HTTP to a port of TLS: 400 and what to do, as nginx and Go answer; the connection ends."""
    async with serve(Certificates("http", files_of(authority.issue("tls")))) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        writer.write(b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        head, _, body = (await asyncio.wait_for(reader.readuntil(b"}"), 5)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"use https://" in body

        writer.write(b"POST /v1/logs HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_refusal_arrives(serve: Serve, authority: Authority) -> None:
    """TLS cannot be closed by half: 400, and the end."""
    async with serve(Certificates("http", files_of(authority.issue("tls")))) as port:
        _, writer, reader = await handshake(port, ssl.create_default_context(cafile=authority.ca_file))
        assert isinstance(reader, asyncio.StreamReader)
        writer.write(b"noise\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400 ")
        writer.close()


def test_settings_take_whole_pairs(tmp_path: Path) -> None:
    """One set for all; a listener can do otherwise; half a pair and a CA without a pair are refused."""
    cert, key, ca = tmp_path / "c", tmp_path / "k", tmp_path / "ca"
    with pytest.raises(ValidationError, match="tls_key_file"):
        Settings(tls_cert_file=cert)
    with pytest.raises(ValidationError, match="tls_client_ca_file needs"):
        Settings(http_tls_client_ca_file=ca)

    settings = Settings(tls_cert_file=cert, tls_key_file=key, tls_client_ca_file=ca, query_tls_client_ca_file="none")
    assert settings.tls_files("grpc") == TlsFiles(cert, key, ca)
    assert settings.tls_files("query") == TlsFiles(cert, key, None)
    settings = Settings(tls_cert_file=cert, tls_key_file=key, query_tls_cert_file="none")
    assert (settings.scheme("http"), settings.scheme("query")) == ("https", "http")


def test_beyond_loopback_means_tls(tmp_path: Path) -> None:
    """0.0.0.0 needs a certificate for that listener, or --insecure."""
    pair = {"tls_cert_file": tmp_path / "c", "tls_key_file": tmp_path / "k"}
    with pytest.raises(ValidationError, match="--tls-cert-file"):
        Settings(http_endpoint="0.0.0.0:0")
    with pytest.raises(ValidationError, match="--tls-cert-file"):
        Settings(http_endpoint="0.0.0.0:0", **pair, http_tls_cert_file="none")

    assert Settings(http_endpoint="0.0.0.0:0", **pair).tls_files("http") is not None
    assert Settings(http_endpoint="0.0.0.0:0", insecure=True).tls_files("http") is None
