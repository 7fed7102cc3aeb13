"""Logs at DEBUG and INFO all the time; prints what its own handler sees."""

import logging
import sys
import time

logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
orders, other = logging.getLogger("shop.orders.db"), logging.getLogger("other")
while True:
    orders.debug("orders debug")
    other.debug("other debug")
    orders.info("orders info")
    time.sleep(0.05)
