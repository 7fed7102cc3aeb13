"""Runs a scenario's policy and tells whether, and how cheaply, its facts were found."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from mcp_tools.dispatch import call
from mcp_tools.render import CHARS_A_TOKEN
from storage.reader import Reader
from storage.sink import PostgresSink
from tests.scenarios.shop import Shop
from tests.scenarios.table import Scenario, Step


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy cost until its last fact, in calls and tokens, and what was found.

    ``missing``: facts that no answer has. ``distracted``: distractors that stood above the last fact.
    """

    calls: int
    tokens: int
    missing: list[str]
    distracted: list[str]
    transcript: list[str]

    @property
    def found(self) -> bool:
        """Whether the cause is named, and nothing that is not the cause stands above it."""
        return not self.missing and not self.distracted


async def plant(engine: AsyncEngine, scenario: Scenario, seed: int = 1) -> None:
    """Have the shop at work, with the fault."""
    shop = Shop(seed)
    scenario.plant(shop)
    await shop.store(PostgresSink(engine))


async def follow(engine: AsyncEngine, scenario: Scenario, policy: Sequence[Step] | None = None) -> Outcome:
    """Follow the scenario's policy, or another, to its end or until all facts were found."""
    answers, texts = [], []
    missing = list(scenario.facts)
    for step in policy or scenario.policy:
        tool, arguments = step(answers)
        answer = await call(Reader(engine), "read", tool, arguments)
        answers.append(answer.data)
        texts.append(answer.text)
        missing = [fact for fact in missing if not re.search(fact, answer.text)]
        if not missing:
            break
    tokens = sum(len(text) for text in texts) // CHARS_A_TOKEN
    return Outcome(len(texts), tokens, missing, _distracted(texts[-1], scenario), texts)


def _distracted(text: str, scenario: Scenario) -> list[str]:
    last = [found.start() for fact in scenario.facts if (found := re.search(fact, text))]
    return [d for d in scenario.distractors if last and (seen := re.search(d, text)) and seen.start() < min(last)]
