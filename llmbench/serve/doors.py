"""The clients behind the endpoint: one door for each kind of model that the config has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from llmbench.catalog import Modality
from llmbench.config import load_config
from llmbench.config.model import Config, MediaModality
from llmbench.routing.client import LLMClient
from llmbench.routing.image_client import ImageClient
from llmbench.routing.speech_client import SpeechClient
from llmbench.serve.problems import Problem


@dataclass(frozen=True, slots=True)
class Doors:
    """One client a kind; None where the config has no models of it."""

    text: LLMClient
    image: ImageClient | None
    speech: SpeechClient | None

    @classmethod
    def open(cls, configs: str | Path | Config, **options: Any) -> Self:
        """Open the clients of a config folder; the options are those of LLMRouter.

        Raises:
            ConfigError: the folder or a provider's address cannot be used.
        """
        config = configs if isinstance(configs, Config) else load_config(configs)
        return cls(
            LLMClient(config, **options),
            ImageClient(config, **options) if _has(config, "image") else None,
            SpeechClient(config, **options) if _has(config, "speech") else None,
        )

    @property
    def config(self) -> Config:
        """The config as the next call finds it: changed files once they are right, where it reloads."""
        return self.text.router.setup().config

    def of(self, kind: Modality) -> LLMClient | ImageClient | SpeechClient:
        """The door of one kind.

        Raises:
            Problem: 404, the config has no models of it.
        """
        doors = {"text": self.text, "image": self.image, "speech": self.speech}
        door = doors[kind]
        if door is None:
            raise Problem(404, "model_not_found", f"the config has no {kind} models")
        return door

    async def aclose(self) -> None:
        """Close connections and logs."""
        for door in (self.text, self.image, self.speech):
            if door is not None:
                await door.aclose()


def _has(config: Config, kind: MediaModality) -> bool:
    return kind in config.media and bool(config.media[kind].models)
