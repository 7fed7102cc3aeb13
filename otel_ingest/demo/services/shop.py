"""The demo's shop (FastAPI): takes orders, asks payments and the worker over HTTP."""

import logging
import os

import requests
from fastapi import FastAPI, HTTPException

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("shop")
app = FastAPI()


@app.get("/health")
def health() -> dict[str, bool]:
    """Say that it is up."""
    return {"ok": True}


@app.post("/orders/{number}")
def order(number: int, amount: float) -> dict[str, object]:
    """Place one order: have it packed, then charge it."""
    log.info("order %s received over %.2f", number, amount)
    packed = requests.post(f"{os.environ['WORKER_URL']}/jobs", json={"order": number}, timeout=10)
    log.info("order %s packed in %s parcels", number, packed.json()["parcels"])
    paid = requests.post(f"{os.environ['PAYMENTS_URL']}/charge", json={"order": number, "amount": amount}, timeout=10)
    if not paid.ok:
        log.error("order %s not paid: payments answered %s", number, paid.status_code)
        raise HTTPException(502, "payment failed")
    return {"order": number, "parcels": packed.json()["parcels"]}
