"""asyncio, threads, structlog, loguru, and the two lines of code, by argument."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor


def use_asyncio() -> None:
    from opentelemetry import trace

    async def one(number: int) -> None:
        with trace.get_tracer("t").start_as_current_span(f"job {number}"):
            await asyncio.sleep(0.01)
            logging.getLogger("a").info("async %d", number)

    async def main() -> None:
        await asyncio.gather(*(one(i) for i in range(10)))

    asyncio.run(main())


def use_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: logging.getLogger("t").info("thread %d", i), range(40)))


def use_structlog() -> None:
    import structlog

    structlog.get_logger("s").info("printed", order=7, password="hunter2")
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    structlog.get_logger("s2").warning("through stdlib", order=8)


def use_loguru() -> None:
    from loguru import logger

    logger.bind(order=9).info("loguru {}", 1)
    logger.remove()
    logger.warning("loguru after remove")
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("loguru failed")
    logger.trace("loguru trace")


def use_configure() -> None:
    import otel_ingest_instrumentation

    otel_ingest_instrumentation.configure()
    logging.getLogger("c").info("configured")


def use_quiet() -> None:
    """Log at DEBUG from the root, then do nothing: only what the pipe itself does could be logged."""
    import time

    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("q").info("once")
    time.sleep(float(sys.argv[2]))


globals()[f"use_{sys.argv[1]}"]()
