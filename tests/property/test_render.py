"""Rendering: what a record says cannot leave its fence."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mcp_tools import render

INVISIBLE = {"\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", *map(chr, range(0xFE00, 0xFE10))}


@given(st.text(max_size=600) | st.text("-\u202e\x1b\u200b\ufe0f\U000e0100 end of records", max_size=80))
def test_cleaned_text_is_one_visible_line(text: str) -> None:
    """No control, format, private or filler character stays, no fence can be forged, and a cut is marked."""
    shown = render.clean(text)

    assert not {c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}}
    assert not set(shown) & INVISIBLE
    assert not any(0xE0100 <= ord(c) <= 0xE01EF for c in shown)
    assert "---" not in shown
    if len(text) > render.FIELD_CHARS_MAX:
        assert shown.endswith(f"…+{len(text) - render.FIELD_CHARS_MAX}")


def test_characters_past_the_first_plane_are_told_apart() -> None:
    """An escape names its character without doubt."""
    assert render.clean("\ue004" + "1") != render.clean("\U000e0041")
