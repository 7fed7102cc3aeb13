"""The demo's payments (Flask): charges cards; large amounts meet a limit and fail."""

import logging

from flask import Flask, jsonify, request
from flask.wrappers import Response

LIMIT = 1000

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("payments")
app = Flask("payments")


class CardDeclinedError(Exception):
    """The bank said no."""


@app.get("/health")
def health() -> Response:
    """Say that it is up."""
    return jsonify(ok=True)


@app.post("/charge")
def charge() -> tuple[Response, int]:
    """Charge one order."""
    order, amount = request.json["order"], request.json["amount"]
    try:
        reserve(amount)
    except CardDeclinedError:
        log.exception("charge of order %s failed", order)
        return jsonify(error="declined"), 500
    log.info("charged %.2f for order %s", amount, order)
    return jsonify(ok=True), 200


def reserve(amount: float) -> None:
    """Ask the bank."""
    if amount > LIMIT:
        raise CardDeclinedError(f"{amount:.2f} is over the limit of {LIMIT}")
