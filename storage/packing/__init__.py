"""Packed records: closed partitions as blocks of compressed columns, and how every question still finds them.

``codec`` and ``block`` turn columns into bytes and back, ``packer`` moves records into blocks. ``needs`` tells which of
them a statement may ask for, ``lookup`` finds and unpacks those, ``shadow`` puts them in front of the statement, and
``connection`` does all this for whoever reads. ``removal`` is how packed records leave. Why it is so:
docs/adr/018-packed-partitions.md.
"""
