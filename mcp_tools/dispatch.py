"""One way to every tool: role, then arguments, then the function. All doors call ``call``."""

import json
import time
from typing import Any

from pydantic import ValidationError

from mcp_tools import render
from mcp_tools.answers import Answer, Asked, Progress
from mcp_tools.errors import UserInputError, argument_meant, did_you_mean
from mcp_tools.tools import TOOLS, Tool
from storage.control import Control
from storage.errors import QueryTimeout, RetryableStoreError, StoreError
from storage.reader import Reader


async def call(
    reader: Reader,
    role: str,
    name: str,
    arguments: dict[str, Any],
    *,
    caller: str = "",
    control: Control | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Return a tool's answer. Raises UserInputError; its text is whole, for the one who asked.

    ``caller`` is who asks, for the audit log; without ``control`` the tools that change something refuse. A call of
    theirs that is refused is written down as well, or, where that cannot be done, fails for this reason.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise UserInputError("UNKNOWN_TOOL", f'there is no tool "{name[:60]}".{did_you_mean(name, list(TOOLS))}')
    try:
        return await _answer(tool, reader, name, arguments, Asked(time.time_ns(), role, caller, control, progress))
    except UserInputError as error:
        if (tool.role != "read" or tool.optional) and control is not None:
            await _write_down(control, caller, role, name, arguments, error)
        raise


async def _write_down(
    control: Control, caller: str, role: str, name: str, arguments: dict[str, Any], error: UserInputError
) -> None:
    shown = json.loads(json.dumps(arguments, default=str).replace("\\u0000", "\\ufffd"))
    try:
        await control.refused(caller, role, name, shown, str(error))
    except StoreError as unwritten:
        raise UserInputError("STORE_UNAVAILABLE", f"nothing was done: the audit log is away ({unwritten})") from error


async def _answer(tool: Tool, reader: Reader, name: str, arguments: dict[str, Any], asked: Asked) -> Answer:
    """Check the role, then the arguments, then ask."""
    role = asked.role
    if not tool.open_to(role):
        needed = " or ".join((tool.role, *tool.also))
        raise UserInputError(
            "FORBIDDEN", f"{name} needs the role {needed}; your token has {role or 'none'}. Nothing was done."
        )
    known = list(tool.arguments.model_fields)
    for argument in arguments:
        if argument not in known:
            near = argument_meant(argument, known)
            raise UserInputError(
                "UNKNOWN_ARGUMENT",
                f'{name} has no argument "{argument[:60]}".{near} It takes: {", ".join(known)}.',
            )
    try:
        given = tool.arguments.model_validate(arguments)
    except ValidationError as error:
        raise UserInputError("INVALID_ARGUMENT", _sentence(name, error)) from error
    try:
        return await tool.function(reader, given, asked)
    except QueryTimeout as error:
        raise UserInputError("TIMEOUT", f"{error}; for example since=15m, or a component") from error
    except RetryableStoreError as error:
        raise UserInputError("STORE_UNAVAILABLE", f"{error}; try again in a moment") from error
    except StoreError as error:
        raise UserInputError("STORE_UNAVAILABLE", str(error)) from error


# What pydantic says in words of its own.
_SAID = {
    "missing": "it is needed",
    "extra_forbidden": "there is nothing of this name in it",
    "model_type": "an object is wanted",
    "dict_type": "an object is wanted",
    "list_type": "a list is wanted",
    "string_type": "a text is wanted",
}


def _sentence(name: str, error: ValidationError) -> str:
    """Return what was wrong with which argument, without the library's own words around it."""
    problems = []
    for problem in error.errors(include_url=False, include_input=True, include_context=False):
        place = ".".join(str(part) for part in problem["loc"]) or "arguments"
        # What is missing has no value; of a value that is wrong the beginning tells which one is meant.
        given = "" if problem["type"] == "missing" else f"={render.clean(str(problem.get('input')), 60)!r}"
        problems.append(f"{name}: {place}{given}: {_SAID.get(problem['type'], problem['msg'])}")
    return "; ".join(problems)
