"""Which dialect a media model speaks: one table for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from llmbench.catalog import ModelSpec, Wire
from llmbench.errors import ConfigError
from llmbench.providers.media_wire import MediaWire


@lru_cache(maxsize=1)
def _wires() -> Mapping[tuple[str, Wire], MediaWire]:
    """(modality, wire) -> dialect; loaded with the first media model."""
    from llmbench.providers.chat_images import ChatImageWire
    from llmbench.providers.gemini_images import GeminiImageWire
    from llmbench.providers.gemini_speech import GeminiSpeechWire
    from llmbench.providers.images import ImagesWire
    from llmbench.providers.speech import SpeechWire
    from llmbench.providers.workflow_images import WorkflowImageWire

    return {
        ("image", "chat"): ChatImageWire(),
        ("image", "gemini"): GeminiImageWire(),
        ("image", "images"): ImagesWire(),
        ("image", "workflow"): WorkflowImageWire(),
        ("speech", "gemini"): GeminiSpeechWire(),
        ("speech", "speech"): SpeechWire(),
    }


def speaks_media(spec: ModelSpec) -> bool:
    """Whether this version has the dialect of an image or speech model."""
    return (spec.capabilities.mode, spec.wire) in _wires()


def media_wire_for(spec: ModelSpec) -> MediaWire:
    """The dialect of an image or speech model.

    Raises:
        ConfigError: there is no such dialect for this kind of model.
    """
    kind = spec.capabilities.mode
    wire = _wires().get((kind, spec.wire))
    if wire is None:
        known = ", ".join(sorted(name for modality, name in _wires() if modality == kind))
        raise ConfigError(f"model {spec.key!r}: {kind} models have no wire {spec.wire!r}; known: {known}")
    return wire
