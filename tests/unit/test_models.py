"""The tables against the one list of columns, and the rules for partitioned tables."""

import pytest

from storage.columns import TELEMETRY_TABLES, TelemetryTable
from storage.models import TABLES


@pytest.mark.parametrize("spec", TELEMETRY_TABLES, ids=lambda spec: spec.name)
def test_tables_have_the_columns_of_the_list(spec: TelemetryTable) -> None:
    """Name, NULL and comment as listed; id is the only column the list does not have."""
    listed = {c.name: (c.nullable, c.comment) for c in spec.columns}
    modelled = {c.name: (c.nullable, c.comment) for c in TABLES[spec.name].c if c.name != "id"}

    assert modelled == listed


@pytest.mark.parametrize("spec", TELEMETRY_TABLES, ids=lambda spec: spec.name)
def test_unique_keys_contain_the_partition_key(spec: TelemetryTable) -> None:
    """PostgreSQL demands it, and COPY relies on the sequence for id."""
    table = TABLES[spec.name]

    assert [c.name for c in table.primary_key] == ["time", "id"]
    assert not [index.name for index in table.indexes if index.unique]
    assert table.c.id.server_default is not None
