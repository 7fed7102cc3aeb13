"""PURE: a split of the rules -> the condition of the rows that are to go."""

from sqlalchemy import ColumnElement, Table, and_, not_, or_, true

from storage.retention.rules import Selector, Split


def going(table: Table, at_age: Split) -> ColumnElement[bool]:
    """Return which rows of ``table`` the rules that are over decide about."""
    return or_(
        *(
            and_(_meets(table, over.selector), *(not_(_meets(table, rule.selector)) for rule in against))
            for over, against in at_age.deciding()
        )
    )


def _meets(table: Table, selector: Selector) -> ColumnElement[bool]:
    """Return whether a row meets all conditions of a selector; none of the columns is ever NULL."""
    conditions: list[ColumnElement[bool]] = []
    if selector.component is not None:
        conditions.append(table.c.component == selector.component)
    if selector.severity_min is not None or selector.severity_max is not None:
        conditions.append(table.c.severity_number >= (selector.severity_min or 1))
    if selector.severity_max is not None:
        conditions.append(table.c.severity_number <= selector.severity_max)
    return and_(*conditions) if conditions else true()
