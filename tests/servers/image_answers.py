"""Answers of image providers in each one's own form, and the pictures in them. All functions are pure.

`drawn` is a stand-in for an image model: it writes the prompt on a coloured ground. The forms are read by the
providers' own SDKs in tests/conformance; Fireworks has none, its forms follow its API reference.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tests.servers.answers import CREATED
from tests.servers.chat_server import Step

#: What stands in an answer where a picture that nothing can decode is asked for.
NO_PICTURE = b"these bytes are no picture"
NO_BASE64 = "%%% not base64 %%%"
#: Tokens of every answer: in, and out for each picture.
TOKENS_IN, TOKENS_OUT = 12, 272
COST_USD = 0.01
SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "low"}}
RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}]
WORDS = "I would rather describe it: a red cube."

_EDGES = {"1K": 1024, "2K": 2048, "4K": 4096}
_MARGIN = 0.06


# ---- pictures


def pixels_of(size: str | None, aspect_ratio: str | None = None) -> tuple[int, int]:
    """Width and height for "WxH", or for "1K", "2K", "4K" (about that, squared, in pixels) with a ratio."""
    if size and "x" in size:
        width, _, height = size.partition("x")
        return int(width), int(height)
    edge = _EDGES.get(size or "", 1024)
    across, down = (float(part) for part in (aspect_ratio or "1:1").split(":"))
    scale = edge / math.sqrt(across * down)
    return round(across * scale / 16) * 16, round(down * scale / 16) * 16


def drawn(
    prompt: str,
    width: int,
    height: int,
    *,
    seed: int = 0,
    image_format: str = "png",
    font: Path | None = None,
) -> bytes:
    """White text on a colour of the prompt and the seed; equal arguments give equal bytes.

    Pillow's own font has Latin letters alone; `font` is a file that has others.
    """
    ground = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    picture = Image.new("RGB", (width, height), tuple(value // 2 for value in ground[:3]))
    pen = ImageDraw.Draw(picture)
    letters, text = _fitted(pen, prompt, width * (1 - 2 * _MARGIN), height * (1 - 2 * _MARGIN), font)
    pen.multiline_text((width / 2, height / 2), text, "white", letters, "mm", align="center")
    written = io.BytesIO()
    picture.save(written, image_format.upper())
    return written.getvalue()


def _fitted(
    pen: ImageDraw.ImageDraw, prompt: str, width: float, height: float, font: Path | None
) -> tuple[Any, str]:
    """The largest letters in which the whole prompt fits, and its lines."""
    size, sample = int(height / 3), " ".join(prompt.split()) or "n"
    while True:
        letters = ImageFont.load_default(size) if font is None else ImageFont.truetype(font.as_posix(), size)
        across = max(int(width / max(pen.textlength(sample, letters) / len(sample), 1)), 1)
        text = "\n".join(line for part in prompt.splitlines() for line in textwrap.wrap(part, across)) or " "
        left, top, right, bottom = pen.multiline_textbbox((0, 0), text, letters)
        if size <= 8 or (right - left <= width and bottom - top <= height):
            return letters, text
        size = int(size * 0.85)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: str, image_format: str = "png") -> str:
    return f"data:image/{image_format};base64,{data}"


# ---- OpenAI, Azure and OpenRouter: images


def images_answer(
    data: Sequence[Mapping[str, Any]], *, azure: bool = False, **request: Any
) -> dict[str, Any]:
    """`data` are the entries; `request` is repeated as the API does (size, quality, output_format)."""
    out = TOKENS_OUT * len(data)
    answer: dict[str, Any] = {
        "created": CREATED,
        "background": "opaque",
        **request,
        "data": list(data),
        "usage": {
            "input_tokens": TOKENS_IN,
            "input_tokens_details": {"text_tokens": TOKENS_IN, "image_tokens": 0},
            "output_tokens": out,
            "output_tokens_details": {"image_tokens": out, "text_tokens": 0},
            "total_tokens": TOKENS_IN + out,
        },
    }
    return answer | ({"prompt_filter_results": SAFE} if azure else {})


def moderation_blocked() -> Step:
    message = "Your request was rejected as a result of our safety system."
    error = {"message": message, "type": "image_generation_user_error", "param": None}
    return Step({"error": {**error, "code": "moderation_blocked"}}, 400)


def openrouter_images_answer(data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"created": CREATED, "data": list(data), "usage": _openrouter_usage(len(data))}


def openrouter_moderation() -> Step:
    metadata = {"reasons": ["violence"], "flagged_input": "...", "provider_name": "OpenAI"}
    return Step({"error": {"code": 403, "message": "Your input was flagged", "metadata": metadata}}, 403)


def _openrouter_usage(count: int) -> dict[str, Any]:
    return {
        "prompt_tokens": TOKENS_IN,
        "completion_tokens": TOKENS_OUT * count,
        "total_tokens": TOKENS_IN + TOKENS_OUT * count,
        "cost": COST_USD,
    }


# ---- OpenRouter: chat with pictures


def chat_images_answer(urls: Sequence[str], text: str = "", *, finish: str = "stop") -> dict[str, Any]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    message = {"role": "assistant", "content": text, "refusal": None, **({"images": images} if urls else {})}
    return {
        "id": "gen-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "google/gemini-2.5-flash-image",
        "provider": "Google",
        "system_fingerprint": None,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": _openrouter_usage(len(urls)),
    }


# ---- Gemini


def gemini_image_answer(*parts: Mapping[str, Any], finish: str = "STOP", **more: Any) -> dict[str, Any]:
    """A candidate with these parts; `more` joins it (finishMessage)."""
    content = {"parts": list(parts), "role": "model"} if parts else {}
    pictures = sum("inlineData" in part for part in parts)
    usage = {"promptTokenCount": TOKENS_IN, "totalTokenCount": TOKENS_IN + TOKENS_OUT * pictures}
    if pictures:
        usage["candidatesTokenCount"] = TOKENS_OUT * pictures
    return {
        "candidates": [
            {"content": content, "finishReason": finish, "index": 0, "safetyRatings": RATINGS, **more}
        ],
        "usageMetadata": usage,
        "modelVersion": "gemini-3-pro-image-preview",
        "responseId": "r",
    }


def inline(data: str, image_format: str = "png", **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": f"image/{image_format}", "data": data}, **more}


# ---- Fireworks: workflows


def workflow_answer(pictures: Sequence[str], *, finish: str = "SUCCESS", seed: int = 0) -> dict[str, Any]:
    """The answer at once; `pictures` are data: addresses."""
    return {"id": "w-1", "base64": list(pictures), "finishReason": finish, "seed": seed}


def ticket(request_id: str) -> dict[str, Any]:
    return {"request_id": request_id}


def result(request_id: str, status: str, sample: str | None = None, **more: Any) -> dict[str, Any]:
    """What is known of a ticket; `more` joins the sample."""
    made = None if sample is None else {"sample": sample, **more}
    return {"id": request_id, "status": status, "result": made, "progress": None, "details": None}
