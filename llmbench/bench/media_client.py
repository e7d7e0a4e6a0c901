"""What a sweep of pictures or narrations calls: the face of the text client before a media router.

An answer's file is kept beside the ledger, and its text is the one line of JSON that names the file and says
what was measured of it. A judge that looks at pictures is a text model with vision: its calls, and what is
asked about its model, go to a text client beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

from llmbench.bench.media_facts import image_facts, speech_facts
from llmbench.bench.media_store import as_line, media_folder, store_file
from llmbench.catalog import Modality, ModelSpec
from llmbench.config.model import Config, MediaModality
from llmbench.errors import SweepError
from llmbench.media import ImageResponse, SpeechResponse
from llmbench.messages import Response, Route
from llmbench.routing.client import LLMClient
from llmbench.routing.door import Door
from llmbench.routing.media_router import ImageRouter, MediaRouter, SpeechRouter
from llmbench.routing.router import LLMRouter

_ROUTERS: Final[Mapping[MediaModality, Callable[..., MediaRouter]]] = {
    "image": ImageRouter,
    "speech": SpeechRouter,
}
#: Parameters of a narration that no request carries: its pieces are joined and resampled here.
_JOINING: Final = ("format", "sample_rate_hz", "split", "piece_chars")


class MediaClient(LLMClient):
    """The client of a plan whose answers are pictures or narrations.

    Attributes:
        modality: which of them.
        folder: where their files are kept; set by the sweep, beside its ledger.
        judge: the text client of the judges, or None where no task has one.
    """

    def __init__(
        self,
        config: Config,
        modality: MediaModality,
        *,
        judge: LLMClient | None = None,
        judges: Iterable[str] = (),
        **options: Any,
    ) -> None:
        """Open the router of one modality.

        Args:
            config: the whole config, as loaded.
            modality: whose file it is that is used.
            judge: a text client that is closed with this one.
            judges: the names by which the plan calls its judges' models.
            **options: of LLMRouter.

        Raises:
            ConfigError: the config has no such models.
        """
        Door.__init__(self, _ROUTERS[modality](config, **options))
        self.modality = modality
        self.folder: Path | None = None
        self.judge = judge
        view = self.router.config
        self._config = view if judge is None else _with_judges(view, judge.config, judges)

    @property
    def config(self) -> Config:
        """The view of the modality's file, and the judges' models."""
        return self._config

    def keep_beside(self, ledger: Path) -> None:
        """Keep the files of the calls from now on beside this ledger."""
        self.folder = media_folder(ledger)

    async def acall(self, task: str, prompt: Any, **arguments: Any) -> Response:
        """Make a picture or a narration, keep its file, and tell what was measured as the response's text.

        Raises:
            SweepError: the file cannot be kept.
            RouteError, ParamError, FallbackExhausted: as ImageClient and SpeechClient.
        """
        if self.judge is not None and self._is_judges(arguments):
            return await self.judge.acall(task, prompt, **arguments)
        if self.folder is None:
            raise SweepError("there is no folder for the files of this client yet; call keep_beside(ledger)")
        text = _one_text(prompt)
        arguments.pop("response_format", None)
        response: Response = await self.router.run(self.router.begin(task, text, **arguments))
        line = await asyncio.to_thread(_kept, response, text, self.folder)
        return replace(response, text=line)

    def explain(self, task: str, prompt: Any = "", **arguments: Any) -> Route:
        """Where `acall` would go, and with which bodies; a body also holds what is done here.

        Raises:
            RouteError, ParamError: as ImageClient and SpeechClient.
        """
        if self.judge is not None and self._is_judges(arguments):
            return self.judge.explain(task, prompt, **arguments)
        arguments.pop("response_format", None)
        route = self.router.explain(task, _one_text(prompt), **arguments)
        if self.modality != "speech":
            return route
        here = {name: arguments[name] for name in _JOINING if name in arguments}
        bodies = {}
        for key, body in route.bodies.items():
            changes = route.adjustments.get(key, ())  # what a file asks for is no argument
            named = {change.param: change.before for change in changes if change.param in _JOINING}
            bodies[key] = {**body, "joined": named | here}
        return replace(route, bodies=bodies)

    async def aclose(self) -> None:
        """Close this client and the judges'."""
        await super().aclose()
        if self.judge is not None:
            await self.judge.aclose()

    def close(self) -> None:
        """The same outside of a running loop."""
        super().close()
        if self.judge is not None:
            self.judge.close()

    def _is_judges(self, arguments: Mapping[str, Any]) -> bool:
        models = arguments.get("models") or ()
        specs = [self._config.models.get(key) for key in ([models] if isinstance(models, str) else models)]
        return bool(specs) and all(spec is not None and spec.capabilities.mode == "text" for spec in specs)


def modality_of(client: LLMClient) -> Modality:
    """What the answers of a client are."""
    return client.modality if isinstance(client, MediaClient) else "text"


def whole_config(client: LLMClient) -> Config:
    """The config of all kinds of calls, whatever the client's own is."""
    return client.router.whole if isinstance(client.router, MediaRouter) else client.config


def router_of(client: LLMClient, spec: ModelSpec) -> LLMRouter:
    """The router that calls a model: a judge of pictures is a text model."""
    if isinstance(client, MediaClient) and client.judge is not None and spec.capabilities.mode == "text":
        return client.judge.router
    return client.router


def _with_judges(view: Config, text: Config, judges: Iterable[str]) -> Config:
    """The view with the judges' models and their providers; a provider of both is the view's.

    Raises:
        SweepError: a judge's model has the key of a media model.
    """
    keys = {name: key for name in judges if (key := text.model_key(name)) is not None}
    for key in keys.values():
        if key in view.models:
            raise SweepError(f"the judge {key} is also the key of a media model; rename one of them")
    specs = {key: text.models[key] for key in keys.values()}
    providers = {spec.provider: text.endpoints[spec.provider] for spec in specs.values()}
    return replace(
        view,
        models={**view.models, **specs},
        endpoints={**providers, **view.endpoints},
        codes={**view.codes, **{name: key for name, key in keys.items() if name != key}},
    )


def _one_text(prompt: Any) -> str:
    """The text of the one message that a media sample has."""
    if isinstance(prompt, str):
        return prompt
    messages = cast("Sequence[Mapping[str, str]]", prompt)
    return messages[-1]["content"]


def _kept(response: Response, text: str, folder: Path) -> str:
    """Keep a response's file; its line of JSON. It is kept before it is measured: it is paid for.

    Raises:
        SweepError: it cannot be kept.
    """
    if isinstance(response, SpeechResponse):
        head = _head("speech", response.audio, response.mime, ".wav", folder)
        return as_line(head | speech_facts(response, text))
    if isinstance(response, ImageResponse):
        first = response.image
        head = _head("image", first.data, first.mime, first.suffix, folder)
        return as_line(head | image_facts(response))
    raise SweepError(f"{response.model} gave neither a picture nor a narration")


def _head(kind: MediaModality, data: bytes, mime: str, suffix: str, folder: Path) -> dict[str, Any]:
    return {"media": kind, "file": store_file(folder, data, suffix), "mime": mime, "bytes": len(data)}
