"""Is idle until its input ends; logs one DEBUG record when it is told to."""

import logging
import sys

for _ in sys.stdin:
    logging.getLogger("shop.orders").debug("idle debug")
