"""A gRPC service without a line of OpenTelemetry: ``back`` (asyncio), or ``front`` (threads) that asks it."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

SERVICE, METHOD = "shop.Stock", "Take"
log = logging.getLogger("shop.grpc")


def say(who: str, number: bytes) -> None:
    log.log(5, "%s trace %s", who, number.decode())
    log.debug("%s debug %s", who, number.decode())
    log.info("%s %s", who, number.decode())


def handlers(method: Any) -> Any:
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(method)})


def front(port: str, following: str) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{following}")
    ask = channel.unary_unary(f"/{SERVICE}/{METHOD}")

    def take(number: bytes, _context: Any) -> bytes:
        say("front", number)
        return ask(number, timeout=10)

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handlers(take),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def back(port: str) -> None:
    async def take(number: bytes, _context: Any) -> bytes:
        say("back", number)
        return number

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(take),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if sys.argv[1] == "front":
    front(*sys.argv[2:])
else:
    asyncio.run(back(*sys.argv[2:]))
