"""The way out: pages of the store -> OTLP, OTLP/JSON, flat JSON lines or Parquet in files, or any OTLP endpoint.

``flat`` and ``files`` write, ``send`` exports with retries; both take what ``encode`` makes of a page.
"""
