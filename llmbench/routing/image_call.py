"""Image calls on their way: the requests of a prompt at once, their pictures opened, converted and saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmbench.catalog import Price
from llmbench.errors import ParamError, ProviderError, UnsavedError
from llmbench.media import Image, ImageResponse, MediaAsk
from llmbench.messages import Adjustment, Response
from llmbench.pricing import Made
from llmbench.providers.base import Reply, Transport
from llmbench.providers.media_send import merged
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.pictures import billed_pictures, converted, open_pictures
from llmbench.providers.send import Sent
from llmbench.routing.fallback import Outcome
from llmbench.routing.image_guard import guard_image
from llmbench.routing.media_call import MediaCall, MediaPrepared, at_once, own_keys, shallow, with_failures
from llmbench.routing.media_files import not_written, redacted, write_with_record
from llmbench.routing.media_params import IMAGE_FORMATS
from llmbench.routing.prepare import Prepared

#: Requests of one call that are under way at the same time.
_AT_ONCE: Final = 8


@dataclass(slots=True)
class ImageCall(MediaCall):
    """One image call.

    `late` says what a candidate's answer is not as it was asked for: count and form. `broken` says what is
    wrong with pictures of it that were left out.
    """

    late: dict[str, list[Adjustment]] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)

    def _planned(self, key: str) -> MediaPrepared:
        asked, spec = self.asked, self.setup.config.models[key]
        options, renamed = self.merged_options(key, "image")
        extra = own_keys(options.pop("extra_body", {}))
        form_of(asked.out, options.get("format"))  # a name that contradicts it is refused before it costs
        guarded = guard_image(spec, asked.text, options, asked.references)
        wire, bodies, seeds, before = media_wire_for(spec), [], [], 0
        for count in guarded.batches:
            params = dict(guarded.params)
            if count > 1 or "n" in options:
                params["n"] = count
            if "seed" in params:
                # A host counts up within a request, and the same seed twice would be the same picture twice.
                params["seed"] += before
            before += count
            seeds.append(params.get("seed") if count == 1 else None)
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
        self.has_lost = False
        try:
            with self._held(key, item) as held:
                opened = partial(self._opened, key, item)
                ended = await at_once(
                    len(item.bodies),
                    lambda index: self.piece(key, item, index, transport, opened, billed_pictures),
                    _AT_ONCE,
                )
                if self.has_lost:
                    held.settle(None)  # the failure that is raised may be another one, which costs nothing
                whole = self._whole(key, item, ended)
                held.settle(whole.cost_usd)
                return whole
        except ProviderError as error:
            raise self._redacted(error) from None

    def _opened(self, key: str, item: MediaPrepared, reply: Reply) -> tuple[tuple[Image, ...], Made]:
        """The pictures of an answer in the form that the call or its file's name asks for."""
        form = form_of(self.asked.out, item.options.get("format"))
        opened = open_pictures(reply)
        self.broken.setdefault(key, []).extend(map(str, opened.broken))
        told = "format" in {change.param for change in item.adjustments}
        images = []
        for came in opened.images:
            image, refusal = converted(came, form)
            images.append(replace(image, revised_prompt=self._shown(image.revised_prompt)))
            made = came.mime.partition("/")[2]
            if refusal:
                self._tell(key, Adjustment("format", "clamped", form, made, f"not converted: {refusal}"))
            elif image is not came and not told:
                self._tell(key, Adjustment("format", "moved", came.mime, image.mime, "converted here"))
        return tuple(images), billed_pictures(reply)

    def _tell(self, key: str, change: Adjustment) -> None:
        """Note what came otherwise than it was asked for, once."""
        found = self.late.setdefault(key, [])
        if change not in found:
            found.append(replace(change, rule=self.redact(change.rule)))

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
            broken = [f"a picture was left out: {each}" for each in self.broken.get(key, ())]
            reasons = [*([] if whole.problem is None else [str(whole.problem)]), *broken]
            reason = reasons[0] if reasons else "the provider made no more"
            self._tell(key, Adjustment("n", "clamped", wanted, len(images), reason))
        elif len(images) > wanted:
            rule = "the provider made more than it was asked for; all are kept, and may be billed"
            self._tell(key, Adjustment("n", "moved", wanted, len(images), rule))
        return replace(whole, problem=None, reply=replace(whole.reply, problem=None))

    def changes(self) -> tuple[Adjustment, ...]:
        """As of any call, and the pictures that are missing."""
        return (
            *super(ImageCall, self).changes(),
            *(change for late in self.late.values() for change in late),
        )

    def response(self, outcome: Outcome) -> ImageResponse:
        """The pictures, saved where the call names a file.

        Raises:
            UnsavedError: a file cannot be written.
        """
        images: tuple[Image, ...] = outcome.sent.parsed
        base = super(ImageCall, self).response(outcome)
        shapes = ", ".join(f"{image.mime} {image.width}x{image.height}" for image in images)
        base = replace(
            base,
            text=f"{len(images)} picture{'s' * (len(images) != 1)}: {shapes}",
            adjustments=(*base.adjustments, *self.late.get(outcome.model, ())),
        )
        safety = redacted(outcome.sent.reply.safety, self.redact)
        made = ImageResponse(**shallow(base), images=images, safety=safety)
        return made if self.asked.out is None else self._saved(made, self.asked.out)

    def _saved(self, made: ImageResponse, out: Path) -> ImageResponse:
        """The response with its pictures written; all of them are tried.

        Raises:
            UnsavedError: one of them cannot be written; why the first of them cannot.
        """
        images, failures = list(made.images), list[str]()
        for place, image in enumerate(made.images):
            name = out.name if len(images) == 1 else f"{out.stem}-{place + 1}{out.suffix}"
            path = out.with_name(name)
            try:
                write_with_record(path, image.data, self._record(made, image, place + 1))
                images[place] = replace(image, path=path)
            except OSError as error:
                failures.append(not_written(path, error))
        made = replace(made, images=tuple(images))
        if failures:
            raise UnsavedError(failures[0], made)
        return made

    def _record(self, made: ImageResponse, image: Image, number: int) -> Mapping[str, Any]:
        """How one of the pictures was made, with what is known of it."""
        facts = {
            "number": number,
            "mime": image.mime,
            "width": image.width,
            "height": image.height,
            "seed": image.seed,
            "revised_prompt": image.revised_prompt,
            "safety": made.safety,
        }
        return self.record(made, hashlib.sha256(image.data).hexdigest(), facts)

    def extra_facts(self, response: Response | None) -> Mapping[str, Any]:
        """What the line says of the pictures."""
        if response is None:
            return {"media": {"modality": "image"}}
        assert isinstance(response, ImageResponse)  # noqa: S101 -- what `response` makes
        first = response.images[0]
        facts = {"images": len(response.images), "width": first.width, "height": first.height}
        return {"media": {"modality": "image", **facts, "bytes": sum(len(i.data) for i in response.images)}}


def form_of(out: Path | None, asked: str | None = None) -> str | None:
    """The form of pictures that a format or a file's name asks for; None where neither does.

    Raises:
        ParamError: the two contradict each other, or the ending is unknown and no format is asked for.
    """
    suffix = "" if out is None else out.suffix.lower().removeprefix(".")
    named = "jpeg" if suffix == "jpg" else suffix
    if named not in IMAGE_FORMATS:
        if suffix and asked is None:
            known = "use .png, .jpg, .jpeg or .webp, or say which form with format="
            raise ParamError(f"out: no form of pictures is known by the ending {'.' + suffix!r:.40}; {known}")
        return asked
    if asked not in (None, named):
        advice = "leave one of them out"
        raise ParamError(f"out: .{suffix} is a name for {named} and format is {asked!r:.40}; {advice}")
    return named
