"""An agent without a model: a fixed policy reaches the fact that names the cause in six calls and 12,000 tokens."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.scenarios.run import run
from tests.scenarios.table import CALLS_MAX, SCENARIOS, TOKENS_MAX, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_the_cause_is_found(engine: AsyncEngine, scenario: Scenario) -> None:
    """Its facts are all there, distractors below them, and the calls were few and short."""
    outcome = await run(engine, scenario)

    assert outcome.missing == [], "\n\n".join(outcome.transcript)
    assert outcome.distracted == [], outcome.transcript[-1]
    assert outcome.calls <= CALLS_MAX
    assert outcome.tokens <= TOKENS_MAX
