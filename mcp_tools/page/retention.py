"""Retention on the page: a rule is set by a form, after a second one where records would go at once."""

from mcp_tools.page.visit import Shown, Visit

_FIELDS = ("signal", "keep", "component", "severity_min", "severity_max", "reason", "confirm")


async def set_rule(visit: Visit, form: dict[str, str]) -> Shown:
    """Set or end a rule, or return what it would take at once and the form that confirms it. Raises UserInputError."""
    given = {name: form[name].strip() for name in _FIELDS if form.get(name, "").strip()}
    answer = (await visit.call("logger_set_retention", given, role="admin")).data
    told = {"summary": answer["summary"], "goes_now": answer["goes_now"], "dry_run": answer["dry_run"]}
    again = given | {"confirm": answer["confirm"]} if answer["dry_run"] else {}
    return Shown("retention.html", "Retention", told, {"again": again, "hints": answer["hints"]})
