"""The part of a cluster's sweep that runs on its nodes: make calls in this process, give their ends back.

One session a sweep, with one client of its own: connections, circuits and the prompt caches behind them last
as long as the node. Every function here is run by the sweep's process through the scheduler, in the event
loop of a Dask worker, beside its tasks: a node makes as many calls at once as it is given, however few
threads it has. They raise nothing that quotes a prompt: Dask would write it to the worker's log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.bench.asking import Outcome, Question, ask
from llmbench.config.model import Config
from llmbench.errors import LLMBenchError
from llmbench.routing.client import LLMClient
from llmbench.telemetry import TelemetryLog

#: A session that its sweep does not ask for so long is over, in seconds: nobody would take its answers.
FORGOTTEN_S: Final = 60.0
#: The longest that `take` waits for an answer, in seconds.
TAKE_S: Final = 5.0
#: Where answers come in a row, so long is waited for more of them, in seconds: one message for many.
_GATHER_S: Final = 0.004


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node needs of its sweep. No key is in it: a node takes those from its own environment.

    Attributes:
        config: the loaded config; it names the variables of keys, not their values.
        steering: the variables that steer routing and content logs, as the sweep's process has them.
        models: keys of the models that the node may be asked to call.
    """

    config: Config
    steering: Mapping[str, str]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a node gives back: calls by number, and telemetry lines, which the sweep's process writes."""

    outcomes: Sequence[tuple[int, Outcome]]
    lines: Sequence[Mapping[str, Any]]


class _Lines(TelemetryLog):
    """Keeps the lines of calls until the sweep's process takes them into its own log."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[Mapping[str, Any]] = []

    def write(self, line: Mapping[str, Any]) -> None:
        """Keep a line."""
        self.lines.append(line)


@dataclass(slots=True)
class _Session:
    client: LLMClient
    log: _Lines
    finished: list[tuple[int, Outcome]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    calls: set[asyncio.Task[None]] = field(default_factory=set)
    asked_at: float = field(default_factory=time.monotonic)
    watch: asyncio.Task[None] | None = None

    async def make(self, number: int, question: Question) -> None:
        """Make a call and keep its end."""
        outcome = await ask(self.client, question)  # `finished` is another list by the time it is there
        self.finished.append((number, outcome))
        self.arrived.set()

    def taken(self) -> Taken:
        """Everything that is to be given back."""
        self.arrived.clear()
        found = Taken(self.finished, self.log.lines)
        self.finished, self.log.lines = [], []
        return found

    async def end(self) -> Taken:
        """Break off the calls under way and close the client."""
        if self.watch is not None and self.watch is not asyncio.current_task():
            self.watch.cancel()
        for call in self.calls:
            call.cancel()
        await asyncio.gather(*self.calls, return_exceptions=True)
        await self.client.aclose()
        return self.taken()


_SESSIONS: Final[dict[str, _Session]] = {}


async def open_session(name: str, terms: Terms) -> tuple[str, ...]:
    """Prepare for a sweep's calls; returns why they cannot be made here, nothing when they can."""
    logging.getLogger("distributed.worker").addFilter(_is_worth_a_line)
    try:
        client = LLMClient(terms.config, variables={**os.environ, **terms.steering}, reload=False)
    except LLMBenchError as error:
        return (str(error),)
    setup = client.router.setup()
    reasons = {key: setup.unreachable(terms.config.models[key]) for key in terms.models}
    problems = tuple(f"{key}: {reason}" for key, reason in reasons.items() if reason is not None)
    if problems:
        client.close()
        return problems
    client.router.log = log = _Lines()
    session = _SESSIONS[name] = _Session(client, log)
    session.watch = asyncio.create_task(_forget(name, session))
    return ()


async def give(name: str, questions: Sequence[tuple[int, Question]]) -> bool:
    """Start calls; False where the session is gone."""
    session = _SESSIONS.get(name)
    if session is None:
        return False
    session.asked_at = time.monotonic()
    for number, question in questions:
        call = asyncio.create_task(session.make(number, question))
        session.calls.add(call)
        call.add_done_callback(session.calls.discard)
    return True


async def take(name: str) -> Taken | None:
    """The ends of calls as soon as there are some, or nothing after `TAKE_S`; None: the session is gone."""
    session = _SESSIONS.get(name)
    if session is None:
        return None
    session.asked_at = time.monotonic()
    if not session.finished:
        try:
            await asyncio.wait_for(session.arrived.wait(), TAKE_S)
        except TimeoutError:
            return session.taken()
        await asyncio.sleep(_GATHER_S)
    return session.taken()


async def close_session(name: str) -> Taken | None:
    """End a session; what its calls had to say comes back."""
    session = _SESSIONS.pop(name, None)
    return None if session is None else await session.end()


async def _forget(name: str, session: _Session) -> None:
    """End a session whose sweep was killed: its calls cost money, and nobody takes their answers."""
    while (left_s := session.asked_at + FORGOTTEN_S - time.monotonic()) > 0:
        await asyncio.sleep(left_s)
    _SESSIONS.pop(name, None)
    await session.end()


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Dask logs every function that is run from outside; ours would be many lines a second."""
    return not (record.msg == "Run out-of-band function %r" and record.args in (("give",), ("take",)))
