"""A WebSocket client of a few lines, for tails."""

import asyncio
import base64
import os
from typing import Any

import orjson


async def handshake(address: str, path: str, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Ask for a WebSocket with a token; return the connection and the head of the answer."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


async def message(reader: asyncio.StreamReader) -> Any:
    """Return the JSON of the next text frame of a server."""
    head = await reader.readexactly(2)
    assert head[0] == 0x81
    size = head[1]
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    return orjson.loads(await reader.readexactly(size))
