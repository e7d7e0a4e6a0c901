"""An image provider on loopback, a stand-in that draws the prompt: white text on a coloured ground.

    with image_provider() as server:
        base_url = server.base_url("openai")

It speaks every dialect of image models at once: OpenAI's images, Azure's (dated and v1), OpenRouter's
`/images` and its chat with pictures, Gemini's generateContent, and Fireworks' workflows, at once and by
ticket. Size, aspect ratio, format and count of a request are obeyed, equal seeds give equal pictures.

`server.outcome` says how requests end; a prompt with one of these words behind a # (`#text`) has its own
end. It may also be a Step, answered as it is:

    ok          the picture
    moderation  stopped by the provider's filter
    text        words and no picture; where a dialect has no words, no picture
    broken      a picture that nothing can decode
    garbled     a picture that is not base64
    nothing     an answer without anything
    url         the address of the picture instead of the picture
    gone        an address where nothing is
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from tests.servers.chat_server import ChatServer, Received, Step
from tests.servers.image_answers import (
    NO_BASE64,
    NO_PICTURE,
    SAFE,
    WORDS,
    base64_of,
    chat_images_answer,
    data_url,
    drawn,
    gemini_image_answer,
    images_answer,
    inline,
    moderation_blocked,
    openrouter_images_answer,
    openrouter_moderation,
    pixels_of,
    result,
    ticket,
    workflow_answer,
)

Kind = Literal["openai", "azure", "azure-v1", "openrouter", "gemini", "fireworks"]
Outcome = Literal["ok", "moderation", "text", "broken", "garbled", "nothing", "url", "gone"]
_BASES: Mapping[Kind, str] = {
    "openai": "/v1",
    "azure": "",
    "azure-v1": "/openai/v1",
    "openrouter": "/api/v1",
    "gemini": "",
    "fireworks": "/inference/v1",
}
_ASKED = re.compile(rf"#({'|'.join(get_args(Outcome))})\b")
_NOT_FOUND = Step({"error": {"message": "no such path", "code": 404}}, 404)


class ImageProvider(ChatServer):
    """The server. `polls` is how often a ticket is still pending; `font` a file with more letters."""

    def __init__(self, *, font: Path | None = None, polls: int = 1) -> None:
        super().__init__()
        self.outcome: Outcome | Step = "ok"
        self.polls = polls
        self.answer = self._by_path
        self._font = font
        self._files: dict[str, tuple[bytes, str]] = {}
        self._tickets: dict[str, tuple[dict[str, Any], int]] = {}

    def base_url(self, kind: Kind) -> str:
        """The address of a provider, as its configuration and its SDK take it."""
        return f"http://127.0.0.1:{self.port}{_BASES[kind]}"

    def bodies(self) -> list[Any]:
        """What was posted, in order."""
        return [request.json for request in self.received if request.method == "POST"]

    def _by_path(self, request: Received) -> Step:
        path = urlsplit(request.path).path
        if request.method == "GET":
            return self._file(path)
        if isinstance(self.outcome, Step):
            return self.outcome
        body = request.json
        routes = {
            "/images/generations": self._images,
            "/api/v1/images": self._openrouter_images,
            "/chat/completions": self._chat,
            ":generateContent": self._gemini,
            "/get_result": self._result,
        }
        route = next((route for end, route in routes.items() if path.endswith(end)), None)
        if route is None and "/workflows/" in path:
            route = self._at_once if "/" in path.partition("/models/")[2] else self._ticket
        return _NOT_FOUND if route is None else route(path, body)

    def _file(self, path: str) -> Step:
        if path not in self._files:
            return Step(b"no such file", 404, {"content-type": "text/plain"})
        data, image_format = self._files[path]
        return Step(data, headers={"content-type": f"image/{image_format}"})

    # ---- one picture

    def _outcome(self, prompt: str) -> Outcome:
        found = _ASKED.search(prompt)
        return found[1] if found else self.outcome

    def _data(self, prompt: str, shape: tuple[int, int], seed: int | None, image_format: str = "png") -> str:
        """A picture in base64, or what stands in its place."""
        outcome = self._outcome(prompt)
        if outcome == "garbled":
            return NO_BASE64
        if outcome == "broken":
            return base64_of(NO_PICTURE)
        drawing = drawn(prompt, *shape, seed=seed or 0, image_format=image_format, font=self._font)
        return base64_of(drawing)

    def _address(
        self, prompt: str, shape: tuple[int, int], seed: int | None, image_format: str = "png"
    ) -> str:
        """The picture as an address: of its data, or where it is to be read."""
        outcome = self._outcome(prompt)
        if outcome not in ("url", "gone"):
            return data_url(self._data(prompt, shape, seed, image_format), image_format)
        path = f"/files/{len(self._files)}.{image_format}"
        if outcome == "url":
            drawing = drawn(prompt, *shape, seed=seed or 0, image_format=image_format, font=self._font)
            self._files[path] = drawing, image_format
        return f"http://127.0.0.1:{self.port}{path}"

    # ---- images

    def _entries(self, body: Mapping[str, Any], image_format: str) -> list[dict[str, str]]:
        prompt, seed = body["prompt"], body.get("seed") or 0
        shape = pixels_of(body.get("size"), body.get("aspect_ratio"))
        outcome = self._outcome(prompt)
        if outcome in ("text", "nothing"):
            return []
        numbers = range(body.get("n") or 1)
        if outcome in ("url", "gone"):
            return [{"url": self._address(prompt, shape, seed + n, image_format)} for n in numbers]
        return [{"b64_json": self._data(prompt, shape, seed + n, image_format)} for n in numbers]

    def _images(self, path: str, body: Mapping[str, Any]) -> Step:
        if self._outcome(body["prompt"]) == "moderation":
            return moderation_blocked()
        image_format = body.get("output_format", "png")
        azure = path.startswith("/openai/")
        more = {"content_filter_results": SAFE} if azure else {}
        entries = [{**entry, **more} for entry in self._entries(body, image_format)]
        repeated = {name: body[name] for name in ("size", "quality") if name in body}
        return Step(images_answer(entries, azure=azure, output_format=image_format, **repeated))

    def _openrouter_images(self, _: str, body: Mapping[str, Any]) -> Step:
        if self._outcome(body["prompt"]) == "moderation":
            return openrouter_moderation()
        image_format = body.get("output_format", "png")
        entries = self._entries(body, image_format)
        named = [{**entry, "media_type": f"image/{image_format}"} for entry in entries]
        return Step(openrouter_images_answer(named))

    def _chat(self, _: str, body: Mapping[str, Any]) -> Step:
        content = body["messages"][-1]["content"]
        prompt = content if isinstance(content, str) else content[0]["text"]
        outcome = self._outcome(prompt)
        if outcome == "moderation":
            return Step(chat_images_answer([], finish="content_filter"))
        if outcome in ("text", "nothing"):
            return Step(chat_images_answer([], WORDS if outcome == "text" else ""))
        config = body.get("image_config", {})
        shape = pixels_of(config.get("image_size"), config.get("aspect_ratio"))
        return Step(chat_images_answer([self._address(prompt, shape, body.get("seed"))]))

    def _gemini(self, _: str, body: Mapping[str, Any]) -> Step:
        prompt = body["contents"][-1]["parts"][0]["text"]
        outcome = self._outcome(prompt)
        if outcome == "moderation":
            said = "Unable to show the generated image."
            return Step(gemini_image_answer(finish="IMAGE_SAFETY", finishMessage=said))
        if outcome in ("text", "nothing"):
            parts = [{"text": WORDS}] if outcome == "text" else []
            return Step(gemini_image_answer(*parts, finish="STOP" if parts else "NO_IMAGE"))
        settings = body.get("generationConfig", {})
        config = settings.get("imageConfig", {})
        shape = pixels_of(config.get("imageSize"), config.get("aspectRatio"))
        data = self._data(prompt, shape, settings.get("seed"))
        return Step(gemini_image_answer({"text": "Here it is."}, inline(data)))

    # ---- workflows

    def _at_once(self, _: str, body: Mapping[str, Any]) -> Step:
        prompt, seed = body["prompt"], body.get("seed") or 0
        outcome = self._outcome(prompt)
        if outcome == "moderation":
            return Step(workflow_answer([], finish="CONTENT_FILTERED"))
        if outcome in ("text", "nothing"):
            return Step(workflow_answer([]))
        address = self._address(prompt, pixels_of(None, body.get("aspect_ratio")), seed)
        return Step(workflow_answer([address], seed=seed))

    def _ticket(self, _: str, body: Mapping[str, Any]) -> Step:
        request_id = f"t-{len(self._tickets)}"
        self._tickets[request_id] = dict(body), 0
        return Step(ticket(request_id))

    def _result(self, _: str, body: Mapping[str, Any]) -> Step:
        request_id = body["id"]
        if request_id not in self._tickets:
            return Step(result(request_id, "Task not found"))
        asked, polled = self._tickets[request_id]
        self._tickets[request_id] = asked, polled + 1
        if polled < self.polls:
            return Step(result(request_id, "Pending"), headers={"retry-after": "0.01"})
        prompt, seed = asked["prompt"], asked.get("seed") or 0
        outcome = self._outcome(prompt)
        if outcome == "moderation":
            return Step(result(request_id, "Content Moderated"))
        if outcome in ("text", "nothing"):
            return Step(result(request_id, "Ready"))
        shape = pixels_of(None, asked.get("aspect_ratio"))
        address = self._address(prompt, shape, seed, asked.get("output_format", "png"))
        return Step(result(request_id, "Ready", address, seed=seed))


def image_provider(*, font: Path | None = None, polls: int = 1) -> ImageProvider:
    """The server, opened by `with`."""
    return ImageProvider(font=font, polls=polls)
