"""Calls as Inspect makes them, on a tier of a small config: shared by the tests of its provider."""

from __future__ import annotations

import asyncio

import pytest
from inspect_ai.model import (
    GenerateConfig,
    get_model,
)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("STUB_KEY", "k")


@pytest.fixture
def tier(three_models):
    """A model of Inspect on tier `cheap` (a, b, c), or on another name of the config."""

    def opened(name="cheap", files=None, **model_args):
        folder = three_models(**(files or {}))
        return get_model(f"llmbench/{name}", memoize=False, configs=str(folder), **model_args)

    return opened


def ask(model, *turns, tools=(), tool_choice=None, **config):
    """One call as Inspect makes it, in a loop of its own."""

    async def run():
        async with model:
            return await model.generate(
                list(turns) or "Hello?",
                tools=list(tools),
                tool_choice=tool_choice,
                config=GenerateConfig(**config),
            )

    return asyncio.run(run())


def facts(output):
    return output.metadata["llmbench"]
