"""What image and speech calls have in common on their way: options, requests of several bodies, money."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from llmbench.catalog import ModelSpec, Policy, Price
from llmbench.config.model import MediaModality
from llmbench.errors import FallbackExhausted, ParamError, ProviderError
from llmbench.media import Blob
from llmbench.messages import Adjustment, Attempt, Response
from llmbench.pricing import Made
from llmbench.providers.base import Reply, Transport
from llmbench.providers.hosts import has_ready_key
from llmbench.providers.keys import KEY_REFUSALS
from llmbench.providers.media_send import send_media
from llmbench.providers.pacing import was_waiting
from llmbench.providers.send import Sent
from llmbench.routing.arguments import Asked
from llmbench.routing.budget import is_free, is_uncharged
from llmbench.routing.call import Call
from llmbench.routing.fallback import run_candidates
from llmbench.routing.media_files import record_of, redacted
from llmbench.routing.media_params import merge
from llmbench.routing.prepare import Prepared
from llmbench.routing.progress import Options, Progress
from llmbench.routing.resolve import option_layers

T = TypeVar("T")
#: Decodes an answer, and counts what it is billed by.
OpenReply = Callable[[Reply], tuple[Any, Made]]
#: What `extra_body` may not replace.
_RESERVED: Final = ("model", "prompt", "input", "contents", "messages")


@dataclass(frozen=True, slots=True)
class MediaAsked(Asked):
    """One media call as it was asked for. `out` is the file to write, None for none.

    `cleared` are the options that it takes away from what the files set: those given as None.
    """

    references: tuple[Blob, ...] = ()
    out: Path | None = None
    cleared: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt, or the text to speak."""
        content = self.request.messages[0].content
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class MediaPrepared(Prepared):
    """One candidate's requests: `bodies` are sent at once; `body` is the first of them.

    `seeds` are those of the pictures of each of them: None for none, or where it asks for several.
    """

    bodies: tuple[Mapping[str, Any], ...] = ()
    seeds: tuple[int | None, ...] = ()


@dataclass(slots=True)
class MediaCall(Call):
    """What image and speech calls do alike: no lessons, no text, requests of several bodies.

    A candidate's requests are tried again one by one, so that what came and was paid for is kept:
    `piece_policy` says how long, and the call's own policy asks no candidate twice. `progress` is how far the
    call has come, once it is under way; `has_lost`, whether a request of the present candidate failed or was
    given up that its host may charge for.
    """

    asked: MediaAsked
    piece_policy: Policy = field(kw_only=True)
    progress: Progress | None = None
    has_lost: bool = False

    def merged_options(self, key: str, kind: MediaModality) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
        """The call's options over those of its task and the model, and how they were renamed.

        Raises:
            ParamError: an option of a file has a wrong value.
        """
        asked, config = self.asked, self.setup.config
        layers = option_layers(config, asked.wanted, self.route.tier, config.models[key])
        own = {**dict.fromkeys(asked.cleared), **asked.request.options}
        options, renamed = merge(kind, [*layers, own])
        return options, (*renamed, *asked.renamed)

    def checked(self, spec: ModelSpec, changes: Sequence[Adjustment]) -> tuple[Adjustment, ...]:
        """The changes, and that of the model before them; unless the call is strict and one loses something.

        Raises:
            ParamError: it is.
        """
        moved = self.route.moved
        if moved is not None:
            if self.asked.request.strict:
                said = f"{moved.after} would answer in place of {moved.before}"
                raise ParamError(f"strict: {said}: {moved.rule}")
            changes = (moved, *changes)
        losses = [change for change in changes if change.action != "renamed"]
        if self.asked.request.strict and losses:
            listed = "; ".join(map(str, losses))
            raise ParamError(f"strict: {spec.key} would not take the parameters as they are: {listed}")
        return tuple(changes)

    def options(self) -> Options:
        """As of any call, without lessons: a media wire's parameters are the file's own business."""
        return replace(super(MediaCall, self).options(), learn=None)

    def worst_usd(self, item: Prepared) -> float | None:
        """The most that a candidate's requests can cost together, in USD; None when nobody knows."""
        price = item.spec.price
        if price is None:
            return None
        if price.per_core_hour is not None:
            return super(MediaCall, self).worst_usd(item)
        return self.unit_usd(price, item)

    def unit_usd(self, price: Price, item: Prepared) -> float | None:
        """The same of a price by picture, by minute or by characters; None where it has none of this kind."""
        raise NotImplementedError

    async def piece(
        self,
        key: str,
        item: MediaPrepared,
        index: int,
        transport: Transport,
        open_reply: OpenReply,
        billed: Callable[[Reply], Made] | None = None,
    ) -> Sent:
        """One of a candidate's requests, tried again as the policy says of passing failures.

        A key that is refused or out of quota rests, and the request is sent again at once with the next one
        that is ready; `billed` as in `send_media`.

        Raises:
            ProviderError: it failed for good. An answer that came and is none is returned with its `problem`.
        """
        tried, came = list[Attempt](), list[Sent]()

        async def once(_: str) -> Sent:
            came.append(await self._by_any_key(item, index, transport, open_reply, billed))
            return came[-1]

        limit_s = self.asked.request.deadline_s if self.progress is None else self.progress.remaining_s()
        try:
            outcome = await run_candidates(
                [key],
                self.piece_policy,
                max(limit_s, 0.001),
                once,
                attempts=tried,
                options=Options(),  # the breaker is asked once for all of them
            )
            return outcome.sent
        except FallbackExhausted as failure:
            last = failure.exceptions[-1]
            assert isinstance(last, ProviderError)  # noqa: S101 -- what such a group holds
            if came and came[-1].problem is last:
                self._redacted(last)
                return came[-1]
            self.has_lost = self.has_lost or not is_free(last)
            raise last from None
        finally:
            again = tried[:-1]  # the last one is the candidate's own attempt
            self._note_retried(again)
            maybe_charged = (
                not is_uncharged(each.error_kind, each.status_code) for each in again if each.error_kind
            )
            self.has_lost = self.has_lost or any(maybe_charged)

    async def _by_any_key(
        self,
        item: MediaPrepared,
        index: int,
        transport: Transport,
        open_reply: OpenReply,
        billed: Callable[[Reply], Made] | None,
    ) -> Sent:
        """One request, once with each key of the provider at most.

        Raises:
            ProviderError: it failed, and not by its key, or no other key is ready.
        """
        spec, provider = item.spec, item.spec.provider
        endpoint, host = self.setup.config.endpoints[provider], self.setup.hosts[provider]
        keys_left = len(endpoint.env_api_keys)
        while True:
            started = time.monotonic()
            try:
                return await send_media(
                    spec, endpoint, host, transport, item.bodies[index], open_reply, billed
                )
            except ProviderError as error:
                keys_left -= 1
                self.has_lost = self.has_lost or not is_free(error)  # a ticket's result, by its key
                if error.kind not in KEY_REFUSALS or keys_left <= 0 or not has_ready_key(host):
                    raise
                latency_ms = (time.monotonic() - started) * 1000
                refused = Attempt(
                    spec.key,
                    latency_ms,
                    error_kind=error.kind,
                    status_code=error.status_code,
                    error=str(error),
                )
                self._note_retried([refused])
            except asyncio.CancelledError as given_up:
                self.has_lost = self.has_lost or not was_waiting(given_up)
                raise

    def record(self, made: Response, sha256: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """How a file was made, without secrets; see `record_of`."""
        options, references = self.prepared[made.model].options, len(self.asked.references)
        record = record_of(self.asked.request, made, options, references, sha256, facts)
        return {name: redacted(value, self.redact) for name, value in record.items()}

    def _write(self, line: Mapping[str, Any]) -> None:
        """As of any call; an answer that came and ended in no response says what it cost."""
        if line["status"] == "fail":
            shown = [
                {**said, "usage": each.usage.as_dict(), "cost_usd": each.cost_usd}
                | {"cost_source": each.cost_source}
                if each.error_kind is None and each.usage is not None
                else said
                for said, each in zip(line["attempts"], self.attempts, strict=True)
            ]
            line = {**line, "attempts": shown}
        super(MediaCall, self)._write(line)

    def _note_retried(self, tried: Sequence[Attempt]) -> None:
        """Failures that were waited out join the record of the call."""
        if self.progress is None:
            return
        for attempt in tried:
            error = ProviderError(
                self.redact(attempt.error or ""),
                kind=attempt.error_kind or "server_error",
                status_code=attempt.status_code,
            )
            self.progress.attempts.append(replace(attempt, error=str(error)))
            self.progress.errors.append(error)


def own_keys(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of `extra_body`.

    Raises:
        ParamError: one of them is the router's own.
    """
    if taken := [key for key in _RESERVED if key in extra]:
        raise ParamError(f"extra_body must not set {', '.join(taken)}: the router does")
    return extra


def shallow(base: Response) -> dict[str, Any]:
    """The fields of a response by name, as they are."""
    return {each.name: getattr(base, each.name) for each in fields(base)}


def with_failures(whole: Sent, failures: Sequence[ProviderError], *, has_lost: bool = False) -> Sent:
    """An answer put together from those that came, with the failures of the others.

    The first of them is its problem; its cost is not known where a request that failed may have been charged,
    or one was given up on its way (`has_lost`).
    """
    if not failures:
        return whole
    problem = whole.problem or failures[0]
    whole = replace(whole, problem=problem, reply=replace(whole.reply, problem=problem))
    if all(map(is_free, failures)) and not has_lost:
        return whole
    return replace(whole, cost_usd=None, cost_source="unknown: a request that failed may have been charged")


async def at_once(count: int, make: Callable[[int], Awaitable[T]], most: int) -> list[T | ProviderError]:
    """Run `make(0)` to `make(count - 1)` to their ends, `most` of them at a time.

    Their results are in order, or the ProviderError that one raised instead. Any other failure ends them all
    and is raised.
    """
    places = asyncio.Semaphore(most)
    tasks = [asyncio.create_task(_ended(make, index, places)) for index in range(count)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(
    make: Callable[[int], Awaitable[T]], index: int, places: asyncio.Semaphore
) -> T | ProviderError:
    async with places:
        try:
            return await make(index)
        except ProviderError as error:
            return error
