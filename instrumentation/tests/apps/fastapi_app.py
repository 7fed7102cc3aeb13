"""A FastAPI application that logs, asks another service, and fails on demand."""

import logging
import os

import requests
from fastapi import FastAPI

app = FastAPI()
log = logging.getLogger("fastapi_app")


@app.get("/")
async def index(i: int = 0) -> str:
    log.info("fastapi %s", i)
    log.debug("fastapi debug %s", i)
    return "ok"


@app.get("/ask")
def ask(i: int = 0) -> str:
    log.info("fastapi %s", i)
    log.debug("fastapi debug %s", i)
    return requests.get(f"{os.environ['NEXT']}/?i={i}", timeout=10).text


@app.get("/fail")
def fail() -> str:
    raise RuntimeError("fastapi failed, password=hunter2")
