"""The demo's worker (Flask): packs orders; its query of the stock is slow."""

import logging
import sqlite3

from flask import Flask, jsonify, request
from flask.wrappers import Response

# Counts to two million inside SQLite: slow in the way a query without an index is.
SLOW_QUERY = """
WITH RECURSIVE shelf(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM shelf WHERE n < 2000000)
SELECT count(*) FROM shelf WHERE n % 7 = 0
"""

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("worker")
app = Flask("worker")


@app.get("/health")
def health() -> Response:
    """Say that it is up."""
    return jsonify(ok=True)


@app.post("/jobs")
def job() -> Response:
    """Pack one order."""
    log.info("packing order %s", request.json["order"])
    connection = sqlite3.connect(":memory:")
    cursor = connection.cursor()
    cursor.execute(SLOW_QUERY)
    found = cursor.fetchone()[0]
    connection.close()
    log.warning("stock of %s shelves searched without an index", found)
    return jsonify(parcels=1 + request.json["order"] % 3)
