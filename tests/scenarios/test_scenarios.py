"""An agent without a model: a fixed policy reaches the fact that names the cause in six calls and 12,000 tokens."""

import re

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.scenarios.run import follow, plant
from tests.scenarios.table import CALLS_MAX, FOLLOW_THE_NOISE, SCENARIOS, TOKENS_MAX, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_the_cause_is_found(engine: AsyncEngine, scenario: Scenario) -> None:
    """Its facts are all there, distractors below them, and the calls were few and short.

    And the noise is noise: who follows the loudest error gets to it, and with as many calls not to the cause.
    """
    await plant(engine, scenario)
    outcome = await follow(engine, scenario)
    astray = await follow(engine, scenario, FOLLOW_THE_NOISE)

    assert outcome.missing == [], "\n\n".join(outcome.transcript)
    assert outcome.distracted == [], outcome.transcript[-1]
    assert outcome.calls <= CALLS_MAX
    assert outcome.tokens <= TOKENS_MAX
    assert astray.calls == len(FOLLOW_THE_NOISE) == CALLS_MAX
    assert astray.missing, "\n\n".join(astray.transcript)
    assert re.search(scenario.noise, astray.transcript[2])
