"""A sweep's calls on the nodes of a Dask cluster, seen from the sweep's own event loop.

Calls are no Dask tasks: a task whose node is lost would be made again behind the ledger's back, and each
takes a thread. Here many calls go to a node in one message and come back in another. Those of a lost node
end as lost, so that the one call more has its intent line too.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from llmbench.bench import cluster_node
from llmbench.bench.account import worst_of_call
from llmbench.bench.asking import Outcome, Question, ask
from llmbench.bench.facts import INTERRUPTED
from llmbench.errors import SweepError
from llmbench.providers.hosts import is_loopback
from llmbench.routing.client import LLMClient

if TYPE_CHECKING:
    from distributed import Client

#: How long the scheduler may take to answer, and a first node to be there, in seconds.
CONNECT_S: Final = 10.0
#: How long a sweep that lost its last node waits for another, in seconds: a nanny restarts one in a few.
NODE_WAIT_S: Final = 30.0
#: A node that says nothing for so long is lost, in seconds; it answers every 5 s.
SILENT_S: Final = 30.0
#: How often it is looked for new nodes, in seconds.
_LOOK_S: Final = 2.0


def shard(models: Sequence[str], nodes: Sequence[str], homes: Mapping[str, str]) -> dict[str, str]:
    """Model -> its node. A model stays while its node lives; the others go where the fewest are.

    A model moves only to a node with two less than its own: to one that joined later.
    """
    if not nodes:
        return {}
    placed = {model: homes[model] for model in models if homes.get(model) in nodes}
    count = Counter(placed.values())
    for model in models:
        if model not in placed:
            placed[model] = min(nodes, key=lambda node: count[node])
            count[placed[model]] += 1
    while True:
        fullest, emptiest = max(nodes, key=count.__getitem__), min(nodes, key=count.__getitem__)
        if count[fullest] - count[emptiest] < 2:
            return placed
        placed[next(model for model in reversed(models) if placed[model] == fullest)] = emptiest
        count[fullest], count[emptiest] = count[fullest] - 1, count[emptiest] + 1


class _SchedulerGone(Exception):
    """The scheduler does not answer any more."""


class _NodeGone(Exception):
    """A node does not answer any more."""


@dataclass(eq=False, slots=True)
class _Node:
    """One worker process of the cluster, and the calls that it was given.

    `outbox` holds what was not sent to it yet; `asked` every call without an answer, those included.
    """

    address: str
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    outbox: list[tuple[int, Question]] = field(default_factory=list)
    asked: dict[int, asyncio.Future[Outcome | None]] = field(default_factory=dict)
    is_filled: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    def put(self, question: Question) -> tuple[int, asyncio.Future[Outcome | None]]:
        """Take a call in; its future gets the outcome, or None where the call was never sent."""
        self.number += 1
        future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self.asked[self.number] = future
        self.outbox.append((self.number, question))
        self.is_filled.set()
        return self.number, future


class Cluster:
    """The nodes that make a sweep's calls, seen from the sweep's event loop."""

    def __init__(self, engine: str, dask: Client, client: LLMClient, terms: cluster_node.Terms) -> None:
        self._engine = engine
        self._dask: Any = dask  # typed as if its methods were synchronous
        self._client = client
        self._terms = terms
        self._nodes: dict[str, _Node] = {}
        self._unfit: dict[str, str] = {}
        self._homes: dict[str, str] = {}
        self._lost: dict[str, int] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: SweepError | None = None

    async def start(self) -> None:
        """Open a session on every node.

        Raises:
            SweepError: there is none in `CONNECT_S` seconds, or one cannot make the calls.
        """
        if not self._terms.models:
            return  # every model is asked in this process
        try:
            await self._dask.wait_for_workers(1, timeout=CONNECT_S)
        except (TimeoutError, OSError) as error:
            raise SweepError(
                f"the scheduler at {self._engine} has no node; start one with `dask worker {self._engine}`"
            ) from error
        try:
            await self._look()
        except (_SchedulerGone, _NodeGone) as error:
            raise self._without_scheduler(error) from error
        if self._unfit:
            raise SweepError("; ".join(self._unfit.values()))
        self._start(self._look_again())

    async def close(self) -> None:
        """End the sessions: what is still under way is broken off, and its telemetry written."""
        for work in self._work:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if self._failure is None:
            await asyncio.gather(*map(self._close_node, self._nodes.values()))
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._dask.close(), 1.0)

    def notices(self) -> Iterable[str]:
        """What is to be said of the nodes at the end."""
        for address, calls in self._lost.items():
            yield f"node {address} was lost with {calls} calls under way; they were made again once"
        for text in self._unfit.values():
            yield f"{text}; it was left out"
        if any(not _is_here(address) for address in {*self._nodes, *self._lost}):
            config = self._client.config
            for name in sorted({config.models[key].provider for key in self._terms.models}):
                if _is_here(config.endpoints[name].base_url or ""):
                    yield f"provider {name} has a loopback address: each node asked its own machine"

    async def ask(self, client: LLMClient, question: Question) -> Outcome:
        """Make one call on its model's node; of a call that was lost with its node `is_lost` is set.

        Raises:
            SweepError: the scheduler is gone, or no node is left.
        """
        model = question.arguments["models"][0]
        if model not in self._terms.models:
            return await ask(client, question)
        while True:  # a call that its node was not given yet goes to another one
            node = await self._node_of(model)
            number, future = node.put(question)
            try:
                outcome = await future
            finally:
                node.asked.pop(number, None)
            if outcome is not None:
                return outcome if not outcome.is_lost else self._charged(outcome, question)

    def _charged(self, outcome: Outcome, question: Question) -> Outcome:
        worst = worst_of_call(question.request_usd, self._client.config.policy)
        return Outcome({**outcome.facts, "charged_usd": worst or 0.0}, is_lost=True)

    async def _node_of(self, model: str) -> _Node:
        until = asyncio.get_running_loop().time() + NODE_WAIT_S
        while not self._nodes:
            self._changed.clear()
            self._refuse()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                raise SweepError(
                    f"the scheduler at {self._engine} has lost its last node; start one with `dask worker "
                    f"{self._engine}` and run the sweep again: it goes on"
                ) from None
        self._refuse()
        if self._homes.get(model) not in self._nodes:
            self._homes = shard([*self._homes, *({model} - {*self._homes})], [*self._nodes], self._homes)
        return self._nodes[self._homes[model]]

    def _refuse(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Take up new nodes. Those that left are noticed by their silence."""
        found = await self._within(self._dask.nthreads())
        new = [_Node(each) for each in sorted(found) if each not in {*self._nodes, *self._unfit}]
        for node, problem in zip(new, await asyncio.gather(*map(self._open, new)), strict=True):
            if problem is not None:
                self._unfit[node.address] = problem
                continue
            self._nodes[node.address] = node
            self._start(self._feed(node), node)
            self._start(self._collect(node), node)
        if new:
            self._homes = shard([*self._homes], [*self._nodes], self._homes)
            self._changed.set()

    async def _open(self, node: _Node) -> str | None:
        """Open a session on a node; why that is not possible, or None."""
        ours, address = metadata.version("llmbench"), node.address
        try:
            theirs = await self._run(address, metadata.version, "llmbench")
            if theirs != ours:
                return (
                    f"node {address} has llmbench {theirs}, and this process {ours}; install the same "
                    "version on both"
                )
            problems = await self._run(address, cluster_node.open_session, node.session, self._terms)
        except _NodeGone as error:
            return f"node {address} cannot make calls: {error}"
        except metadata.PackageNotFoundError:
            return f"node {address} has no llmbench; install version {ours} there"
        if problems:
            return f"node {address} cannot make calls: {'; '.join(problems)} (in the node's own environment)"
        return None

    async def _feed(self, node: _Node) -> None:
        while True:
            await node.is_filled.wait()
            node.is_filled.clear()
            sent, node.outbox = node.outbox, []
            if not await self._run(node.address, cluster_node.give, node.session, sent):
                raise _NodeGone("it was started anew")

    async def _collect(self, node: _Node) -> None:
        while True:
            taken = await self._run(node.address, cluster_node.take, node.session)
            if taken is None:
                raise _NodeGone("it was started anew")
            self._write(taken)
            for number, outcome in taken.outcomes:
                future = node.asked.get(number)
                if future is not None and not future.done():
                    future.set_result(outcome)

    def _write(self, taken: cluster_node.Taken) -> None:
        for line in taken.lines:
            self._client.router.log.write(line)

    async def _close_node(self, node: _Node) -> None:
        with contextlib.suppress(_NodeGone, _SchedulerGone, TimeoutError):
            async with asyncio.timeout(1.0):
                taken = await self._run(node.address, cluster_node.close_session, node.session)
            if taken is not None:
                self._write(taken)

    async def _run(self, address: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Run a function on a node.

        Raises:
            _NodeGone: the node did not answer.
            _SchedulerGone: the scheduler did not.
            metadata.PackageNotFoundError: as the function raised it.
        """
        found = await self._within(
            self._dask.run(function, *arguments, workers=[address], on_error="return"), address
        )
        answer = found.get(address)
        if isinstance(answer, metadata.PackageNotFoundError):
            raise answer
        if isinstance(answer, Exception):
            raise _NodeGone(brief(answer)) from answer
        return answer

    async def _within(self, answer: Awaitable[Any], address: str | None = None) -> Any:
        try:
            async with asyncio.timeout(SILENT_S):
                return await answer
        except TimeoutError as error:
            gone = _SchedulerGone if address is None else _NodeGone
            raise gone(f"no answer in {SILENT_S:g} s") from error
        except OSError as error:
            raise _SchedulerGone(brief(error)) from error

    def _start(self, work: Any, node: _Node | None = None) -> None:
        task = asyncio.create_task(self._guarded(work, node))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _guarded(self, work: Awaitable[None], node: _Node | None) -> None:
        """Do endless work; whoever waits for it learns why it ended."""
        try:
            await work
        except _NodeGone:
            if node is not None:
                self._lose(node)
        except Exception as error:  # noqa: BLE001 -- nobody awaits this task: its calls would wait for ever
            self._fail(self._without_scheduler(error))

    def _lose(self, node: _Node) -> None:
        if self._nodes.pop(node.address, None) is None:
            return
        unsent = {number for number, _ in node.outbox}
        self._lost[node.address] = self._lost.get(node.address, 0) + len(node.asked) - len(unsent)
        facts = {**INTERRUPTED, "error": f"node {node.address} was lost before the answer came"}
        for number, future in node.asked.items():
            if not future.done():
                future.set_result(None if number in unsent else Outcome(facts, is_lost=True))

    def _fail(self, failure: SweepError) -> None:
        self._failure = failure
        self._changed.set()
        for node in self._nodes.values():
            for future in node.asked.values():
                if not future.done():
                    future.set_exception(failure)

    def _without_scheduler(self, error: Exception) -> SweepError:
        return SweepError(
            f"the scheduler at {self._engine} was lost: {brief(error)}; the ledger has every answer so far, "
            "and the sweep goes on where it stopped when it is run again"
        )


def _is_here(address: str) -> bool:
    return is_loopback(urlsplit(address).hostname or "")


def brief(error: BaseException) -> str:
    """An error in one line, without what Dask adds of its own."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
