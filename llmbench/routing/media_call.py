"""Image calls on their way, and what they have in common with speech calls."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from llmbench.catalog import ModelSpec, Policy, Price
from llmbench.config.model import MediaModality
from llmbench.errors import FallbackExhausted, ParamError, ProviderError
from llmbench.media import Blob, Image, ImageResponse, MediaAsk
from llmbench.messages import Adjustment, Attempt, Response
from llmbench.pricing import Made
from llmbench.providers.base import Reply, Transport
from llmbench.providers.media_send import merged, send_media
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.pictures import converted, open_pictures
from llmbench.providers.send import Sent
from llmbench.routing.arguments import Asked
from llmbench.routing.budget import is_free
from llmbench.routing.call import Call
from llmbench.routing.fallback import Outcome, run_candidates
from llmbench.routing.image_guard import guard_image
from llmbench.routing.media_files import record_of, write_with_record
from llmbench.routing.media_params import IMAGE_FORMATS, merge
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
    """One media call as it was asked for. `out` is the file to write, None for none."""

    references: tuple[Blob, ...] = ()
    out: Path | None = None

    @property
    def text(self) -> str:
        """The prompt, or the text to speak."""
        content = self.request.messages[0].content
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class MediaPrepared(Prepared):
    """One candidate's requests: `bodies` are sent at once; `body` is the first of them.

    `seeds` are those that each of them was sent with, None for none.
    """

    bodies: tuple[Mapping[str, Any], ...] = ()
    seeds: tuple[int | None, ...] = ()


@dataclass(slots=True)
class MediaCall(Call):
    """What image and speech calls do alike: no lessons, no text, requests of several bodies.

    A candidate's requests are tried again one by one, so that what came and was paid for is kept:
    `piece_policy` says how long, and the call's own policy asks no candidate twice. `progress` is how far the
    call has come, once it is under way.
    """

    asked: MediaAsked
    piece_policy: Policy = field(kw_only=True)
    progress: Progress | None = None

    def merged_options(self, key: str, kind: MediaModality) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
        """The call's options over those of its task and the model, and how they were renamed.

        Raises:
            ParamError: an option of a file has a wrong value.
        """
        asked, config = self.asked, self.setup.config
        layers = option_layers(config, asked.wanted, self.route.tier, config.models[key])
        options, renamed = merge(kind, layers)
        kept = [change for change in renamed if change.after not in asked.request.options]
        return {**options, **asked.request.options}, (*kept, *asked.renamed)

    def checked(self, spec: ModelSpec, changes: Sequence[Adjustment]) -> tuple[Adjustment, ...]:
        """The changes, unless the call is strict and one of them loses something.

        Raises:
            ParamError: it is.
        """
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
        self, key: str, item: MediaPrepared, index: int, transport: Transport, open_reply: OpenReply
    ) -> Sent:
        """One of a candidate's requests, tried again as the policy says of passing failures.

        Raises:
            ProviderError: it failed for good. An answer that came and is none is returned with its `problem`.
        """
        provider, tried, came = item.spec.provider, list[Attempt](), list[Sent]()
        endpoint, host = self.setup.config.endpoints[provider], self.setup.hosts[provider]

        async def once(_: str) -> Sent:
            body = item.bodies[index]
            came.append(await send_media(item.spec, endpoint, host, transport, body, open_reply))
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
                return came[-1]
            raise last from None
        finally:
            self._note_retried(tried[:-1])  # the last one is the candidate's own attempt

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


@dataclass(slots=True)
class ImageCall(MediaCall):
    """One image call. `late` says what a candidate's answer is not as it was asked for: count and form."""

    late: dict[str, list[Adjustment]] = field(default_factory=dict)

    def _planned(self, key: str) -> MediaPrepared:
        asked, spec = self.asked, self.setup.config.models[key]
        options, renamed = self.merged_options(key, "image")
        extra = own_keys(options.pop("extra_body", {}))
        guarded = guard_image(spec, asked.text, options, asked.references)
        wire, bodies, seeds = media_wire_for(spec), [], []
        for number, count in enumerate(guarded.batches):
            params = dict(guarded.params)
            if count > 1 or "n" in options:
                params["n"] = count
            if "seed" in params:
                params["seed"] += number  # the same seed twice would be the same picture twice
            seeds.append(params.get("seed"))
            bodies.append(wire.body(spec, MediaAsk(asked.text, params, asked.references, extra)))
        changes = self.checked(spec, (*renamed, *guarded.adjustments))
        return MediaPrepared(
            spec, bodies[0], options, changes, None, bodies=tuple(bodies), seeds=tuple(seeds)
        )

    def unit_usd(self, price: Price, item: Prepared) -> float | None:
        """The price of the pictures asked for."""
        wanted: int = item.options.get("n", 1)
        return None if price.per_image is None else price.per_image * wanted

    async def send(self, key: str, transport: Transport) -> Sent:
        """One attempt at one candidate: its requests at once, their pictures in order.

        Pictures that came are kept where other requests of the same call failed or were blocked; if none
        came, the first failure is that of the attempt.

        Raises:
            ProviderError, ParamError, ConfigError, BudgetExceeded: as `Call.send`.
        """
        item = self.prepare(key)
        assert isinstance(item, MediaPrepared)  # noqa: S101 -- what `_planned` makes
        try:
            with self._held(key, item) as held:
                ended = await at_once(
                    self.piece(key, item, index, transport, partial(self._opened, key, item))
                    for index in range(len(item.bodies))
                )
                whole = self._whole(key, item, ended)
                held.settle(whole.cost_usd)
                return whole
        except ProviderError as error:
            raise self._redacted(error) from None

    def _opened(self, key: str, item: MediaPrepared, reply: Reply) -> tuple[tuple[Image, ...], Made]:
        """The pictures of an answer in the form that the call or its file's name asks for."""
        form: str | None = item.options.get("format") or form_of(self.asked.out)
        images, made = open_pictures(reply)
        told = "format" in {change.param for change in item.adjustments}
        if not told and any(image.mime != f"image/{form}" for image in images if form):
            change = Adjustment("format", "moved", images[0].mime, f"image/{form}", "converted here")
            if change not in self._late(key):
                self._late(key).append(change)
        return tuple(converted(image, form) for image in images), made

    def _late(self, key: str) -> list[Adjustment]:
        return self.late.setdefault(key, [])

    def _whole(self, key: str, item: MediaPrepared, ended: Sequence[Sent | ProviderError]) -> Sent:
        """The pictures of all requests as one answer.

        Raises:
            ProviderError: no request was answered; that of the first.
        """
        failures = [self._redacted(each) for each in ended if isinstance(each, ProviderError)]
        parts = [each for each in ended if isinstance(each, Sent)]
        if not parts:
            raise failures[0]
        images = tuple(
            replace(image, seed=seed) if image.seed is None and len(part.parsed) == 1 else image
            for part, seed in zip(ended, item.seeds, strict=True)
            if isinstance(part, Sent)
            for image in part.parsed or ()
        )
        whole = with_failures(merged(parts, images), failures)
        if not images:
            return whole
        wanted = item.options.get("n", 1)
        if len(images) < wanted:
            reason = "the provider made no more" if whole.problem is None else str(whole.problem)
            self._late(key).append(Adjustment("n", "clamped", wanted, len(images), reason))
        return replace(whole, problem=None, reply=replace(whole.reply, problem=None))

    def changes(self) -> tuple[Adjustment, ...]:
        """As of any call, and the pictures that are missing."""
        return (
            *super(ImageCall, self).changes(),
            *(change for late in self.late.values() for change in late),
        )

    def response(self, outcome: Outcome) -> ImageResponse:
        """The pictures, saved where the call names a file."""
        images: tuple[Image, ...] = outcome.sent.parsed
        base = super(ImageCall, self).response(outcome)
        shapes = ", ".join(f"{image.mime} {image.width}x{image.height}" for image in images)
        base = replace(
            base,
            text=f"{len(images)} picture{'s' * (len(images) != 1)}: {shapes}",
            adjustments=(*base.adjustments, *self._late(outcome.model)),
        )
        made = ImageResponse(**shallow(base), images=images, safety=outcome.sent.reply.safety)
        return self._saved(made)

    def _saved(self, made: ImageResponse) -> ImageResponse:
        out = self.asked.out
        if out is None:
            return made
        saved = []
        for number, image in enumerate(made.images, start=1):
            path = out if len(made.images) == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
            facts = {
                "number": number,
                "mime": image.mime,
                "width": image.width,
                "height": image.height,
                "seed": image.seed,
                "revised_prompt": image.revised_prompt,
                "safety": made.safety,
            }
            digest = hashlib.sha256(image.data).hexdigest()
            write_with_record(path, image.data, record_of(self.asked.request, made, digest, facts))
            saved.append(replace(image, path=path))
        return replace(made, images=tuple(saved))

    def extra_facts(self, response: Response) -> Mapping[str, Any]:
        """What the line says of the pictures."""
        assert isinstance(response, ImageResponse)  # noqa: S101 -- what `response` makes
        first = response.images[0]
        facts = {"images": len(response.images), "width": first.width, "height": first.height}
        return {"media": {"modality": "image", **facts, "bytes": sum(len(i.data) for i in response.images)}}


def form_of(out: Path | None) -> str | None:
    """The form of pictures that a file's name asks for; None where it asks for none."""
    suffix = "" if out is None else out.suffix.lower().removeprefix(".")
    named = "jpeg" if suffix == "jpg" else suffix
    return named if named in IMAGE_FORMATS else None


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


def with_failures(whole: Sent, failures: Sequence[ProviderError]) -> Sent:
    """An answer put together from those that came, with the failures of the others.

    The first of them is its problem; its cost is not known where a request that failed may have been charged.
    """
    if not failures:
        return whole
    problem = whole.problem or failures[0]
    whole = replace(whole, problem=problem, reply=replace(whole.reply, problem=problem))
    if all(map(is_free, failures)):
        return whole
    return replace(whole, cost_usd=None, cost_source="unknown: a request that failed may have been charged")


async def at_once(work: Iterable[Coroutine[Any, Any, T]]) -> list[T | ProviderError]:
    """Run all at once to their ends; their results in order, or the ProviderError that one raised instead.

    Any other failure ends them all and is raised.
    """
    tasks = [asyncio.create_task(_ended(each)) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(work: Coroutine[Any, Any, T]) -> T | ProviderError:
    try:
        return await work
    except ProviderError as error:
        return error
