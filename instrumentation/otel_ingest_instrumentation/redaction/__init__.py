"""Redaction before anything leaves: rules.json compiled, applied to the values of a record.

The rules and the table of test vectors lie in ``instrumentation/redaction`` of the repository, for every language.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from .engine import DROPPED, FAILED, Options, Redactor

__all__ = ["DROPPED", "FAILED", "Options", "Redactor", "shared_rules"]


@cache
def shared_rules() -> dict[str, Any]:
    """Return rules.json: beside this module in the wheel, in ``instrumentation/redaction`` of a checkout."""
    inside = Path(__file__).with_name("rules.json")
    path = inside if inside.exists() else Path(__file__).resolve().parents[2] / "redaction" / "rules.json"
    rules: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return rules
