"""Asks the user, where the client can, whether what was previewed shall be done: in the place of the second call.

Only what was previewed is asked about, so that role and arguments were checked before. At the revision 2026-07-28 the
question is the answer to the call, which the client makes again with what the user said; before, the server asks while
the call waits.
"""

import asyncio
import json
from typing import Any, Literal

from mcp.server.elicitation import AcceptedElicitation, render_elicitation_schema
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field, ValidationError

from mcp_tools import render
from mcp_tools.answers import Answer
from storage.clearing import CONFIRM_S

_KEY = "proceed"
_AS_AN_ANSWER_SINCE = "2026-07-28"
_REASON_CHARS = 300

Said = Literal["yes", "no", "cancelled", "nothing"]
"""What the user said; ``nothing``: the client did not ask, and the call stands as it is."""


class Consent(BaseModel):
    """What the user is asked for."""

    proceed: bool = Field(title="Do it", description="Whether what is described above shall be done")


def confirmation_of(answer: Answer, arguments: dict[str, Any]) -> str | None:
    """Return what confirms a preview; None for an answer that is none, or a call that brought its confirmation."""
    confirm = answer.data.get("confirm") if arguments.get("confirm") is None else None
    return confirm if isinstance(confirm, str) else None


def can_ask(context: Any) -> bool:
    """Whether the client of a call shows its user forms."""
    capabilities = context.client_capabilities if context is not None else None
    asks = capabilities.elicitation if capabilities is not None else None
    if asks is None or (asks.form is None and asks.url is not None):
        return False
    return _as_an_answer(context) or bool(context.session.can_send_request)


def said_before(context: Any) -> tuple[str, Said] | None:
    """Return the confirmation a repeated call is about and what the user said; None for a call that repeats none.

    The library gives the state only to who it was made for, of the same call with the same arguments.
    """
    if context is None or not _as_an_answer(context) or context.request_state is None:
        return None
    response = (context.input_responses or {}).get(_KEY)
    try:
        confirm = json.loads(context.request_state)[_KEY]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(response, ElicitResult) or not isinstance(confirm, str):
        return None
    return confirm, _meant(response.action, response.content)


async def ask(context: Any, answer: Answer, arguments: dict[str, Any]) -> InputRequiredResult | Said:
    """Ask the user about a preview: return what the client has to ask, or what the user said."""
    message = _question(answer, arguments)
    if _as_an_answer(context):
        form = ElicitRequestFormParams(message=message, requested_schema=render_elicitation_schema(Consent))
        state = json.dumps({_KEY: confirmation_of(answer, arguments)})
        return InputRequiredResult(input_requests={_KEY: ElicitRequest(params=form)}, request_state=state)
    try:
        async with asyncio.timeout(CONFIRM_S):
            said = await context.elicit(message, Consent)
    except TimeoutError:
        return "cancelled"
    except ValueError:  # accepted with something else than was asked for
        return "no"
    except MCPError:
        return "nothing"
    if isinstance(said, AcceptedElicitation):
        return "yes" if said.data.proceed else "no"
    return "no" if said.action == "decline" else "cancelled"


def _meant(action: str, content: Any) -> Said:
    if action != "accept":
        return "no" if action == "decline" else "cancelled"
    try:
        return "yes" if Consent.model_validate(content).proceed else "no"
    except ValidationError:
        return "no"


def _as_an_answer(context: Any) -> bool:
    version = context.protocol_version
    return version is not None and is_version_at_least(version, _AS_AN_ANSWER_SINCE)


def _question(answer: Answer, arguments: dict[str, Any]) -> str:
    """Return what the user reads: our own words first, then what the caller wrote."""
    given = {n: v for n, v in arguments.items() if n not in {"reason", "max_tokens", "confirm"} and v is not None}
    asked = ", ".join(f"{render.clean(name, 40)}={render.clean(render.plain(v), 120)}" for name, v in given.items())
    reason = render.clean(str(arguments.get("reason", "")), _REASON_CHARS)
    return f'{answer.data["summary"]}.\nAsked for: {asked}\nThe reason that was given: "{reason}"'
