"""Sockets to listen on: bound before anything starts, so that an address that is taken is told at once."""

import socket

from otel_ingest.config import Endpoint

BACKLOG = 2048


class AddressInUseError(OSError):
    """An endpoint that another program listens on; the text names the setting to change."""


def bind(endpoint: Endpoint, setting: str, *, shared: bool = False) -> socket.socket:
    """Return a listening socket for ``endpoint``; port 0 picks a free one. Raises AddressInUseError.

    ``shared``: other processes of ours listen there too, and the kernel gives each connection to one of them.
    """
    sock = _bound(endpoint, setting, shared=shared)
    sock.listen(BACKLOG)
    sock.setblocking(False)  # noqa: FBT003
    return sock


def reserve(endpoint: Endpoint, setting: str) -> socket.socket:
    """Return a socket that holds an address for ``bind(…, shared=True)`` of other processes. Raises AddressInUseError.

    It does not listen. That nobody else does is tried first: a shared address would be shared with them.
    """
    alone = _bound(endpoint, setting, shared=False)
    alone.close()
    return _bound(endpoint, setting, shared=True)


def _bound(endpoint: Endpoint, setting: str, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((endpoint.host, endpoint.port))
    except OSError as error:
        sock.close()
        raise AddressInUseError(address_sentence(endpoint, setting, error.strerror)) from error
    return sock


def address_sentence(endpoint: Endpoint, setting: str, why: str | None) -> str:
    """Return what to say when ``endpoint`` cannot be listened on."""
    flag = "--" + setting.replace("_", "-")
    return (
        f"cannot listen on {endpoint}: {(why or 'the address cannot be used').lower()}; choose another with "
        f"{flag} or OTEL_INGEST_{setting.upper()} (port 0 picks a free one)"
    )


def address_of(sock: socket.socket) -> str:
    """Return host:port of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
