"""Limits that contradict each other stop the start with a sentence that says what to set."""

import pytest
from pydantic import ValidationError

from otel_ingest.config import Settings
from tests.rig import MIB


def test_the_defaults_fit() -> None:
    """The largest body that OTLP recommends has room."""
    settings = Settings()

    assert settings.body_bytes_max == 64 * MIB
    assert settings.inflight_bytes_max + settings.decode_bytes_max < 400 * MIB


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("inflight_bytes_max", 100 * MIB, "set inflight_bytes_max to 150994944 or more, or body_bytes_max to 46603377"),
        ("body_bytes_max", 80 * MIB, "set inflight_bytes_max to 188743680 or more"),
        ("decode_bytes_max", 64 * MIB, "set decode_bytes_max to 201326592 or more"),
    ],
)
def test_a_body_that_would_be_refused_for_ever(setting: str, value: int, advice: str) -> None:
    """The sentence is one that can be followed."""
    with pytest.raises(ValidationError, match=advice):
        Settings(**{setting: value})


def test_the_advice_works() -> None:
    """What is advised starts."""
    Settings(inflight_bytes_max=100 * MIB, body_bytes_max=46_603_377)
    Settings(body_bytes_max=80 * MIB, inflight_bytes_max=188_743_680)
