"""The image wires, models to speak them with, and replies as values, for tests without a server."""

from __future__ import annotations

import base64
import json
from typing import Any

from llmbench.catalog import ModelSpec
from llmbench.media import Blob, MediaAsk
from llmbench.providers.base import HttpReply
from llmbench.providers.chat_images import ChatImageWire
from llmbench.providers.gemini_images import GeminiImageWire
from llmbench.providers.images import ImagesWire
from llmbench.providers.workflow_images import WorkflowImageWire

IMAGES, GEMINI, CHAT, WORKFLOW = ImagesWire(), GeminiImageWire(), ChatImageWire(), WorkflowImageWire()
PNG = b"\x89PNG\r\n\x1a\n picture"
B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
FAR = "https://files.example/a.png"
REFERENCE = Blob(PNG, "image/png")
SPEC = ModelSpec("m", "p", "m-id")
AT_ONCE = ModelSpec("m", "p", "accounts/fireworks/models/flux-1-schnell-fp8/text_to_image")
BY_TICKET = ModelSpec("m", "p", "accounts/fireworks/models/flux-kontext-pro")


def reply(body: Any, status: int = 200, *earlier: HttpReply, **headers: str) -> HttpReply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, data, earlier
    )


def picture(data: bytes = PNG, *earlier: HttpReply, mime: str = "image/png") -> HttpReply:
    return reply(data, 200, *earlier, content_type=mime)


def ask(
    text: str = "a cube", *references: Blob, extra: dict[str, Any] | None = None, **params: Any
) -> MediaAsk:
    return MediaAsk(text, params, references, extra or {})
