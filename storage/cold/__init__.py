"""Cold records: closed partitions as Parquet files outside of PostgreSQL, found by every question like the others.

``freezing`` moves packed records into files, ``thawing`` back, ``upkeep`` removes files nobody names. ``lookup`` tells
which rows of which files a question may need, ``conditions`` and ``reading`` fetch them through DuckDB, and
``storage.packing.connection`` puts them beside stored and packed ones. Why it is so: docs/adr/019-cold-partitions.md.
"""
