"""A FastAPI application that logs, and fails on demand."""

import logging

from fastapi import FastAPI

app = FastAPI()
log = logging.getLogger("fastapi_app")


@app.get("/")
async def index(i: int = 0) -> str:
    log.info("fastapi %s", i)
    log.debug("fastapi debug %s", i)
    return "ok"


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("fastapi failed, password=hunter2")
