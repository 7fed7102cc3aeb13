"""Answers against the shapes that are documented for them: every key that must be there, of its type, and no other."""

from typing import Any


def check(value: Any, shape: Any, place: str = "answer") -> None:
    """Raise AssertionError, with the place, where ``value`` is not of ``shape``.

    A type: an instance of it. A list of one shape: any number of them. A dict: these keys; a key that ends in ``?``
    may be missing. A set: one of these values. A tuple: one of these shapes. A function: true of the value.
    """
    if isinstance(shape, dict):
        _object(value, shape, place)
    elif isinstance(shape, list):
        assert isinstance(value, list), place
        for index, item in enumerate(value):
            check(item, shape[0], f"{place}[{index}]")
    elif isinstance(shape, set):
        assert value in shape, f"{place}: {value!r} is none of {shape}"
    elif isinstance(shape, tuple):
        assert any(_fits(value, one) for one in shape), f"{place}: {value!r}"
    elif isinstance(shape, type):
        assert isinstance(value, shape), f"{place}: {value!r} is no {shape.__name__}"
        assert shape is bool or not isinstance(value, bool), f"{place}: {value!r} is no {shape.__name__}"
    elif callable(shape):
        assert shape(value), f"{place}: {value!r}"
    else:
        assert value == shape, f"{place}: {value!r}"


def _object(value: Any, shape: dict[str, Any], place: str) -> None:
    assert isinstance(value, dict), place
    known = {key.removesuffix("?") for key in shape}
    assert set(value) <= known, f"{place}: {set(value) - known} are not documented"
    for key, inner in shape.items():
        name = key.removesuffix("?")
        assert name in value or key != name, f"{place}: {name} is missing"
        if name in value:
            check(value[name], inner, f"{place}.{name}")


def _fits(value: Any, shape: Any) -> bool:
    try:
        check(value, shape)
    except AssertionError:
        return False
    return True
