"""ImageClient: the door for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmbench.config.model import Config
from llmbench.media import ImageResponse
from llmbench.messages import Route
from llmbench.routing.door import Door
from llmbench.routing.media_router import ImageRouter


class ImageClient(Door[ImageRouter]):
    """Ask a task for pictures; tasks, tiers and models are those of `image_models.yaml`.

    `generate` works in a script, in a notebook and from several threads; `agenerate` inside a running event
    loop. `llmbench.routing.media_asked.media_asked` explains every argument; the parameters are n, size
    ("1536x1024", or "2K"), aspect_ratio ("16:9"), negative_prompt, seed, quality, format, background, style,
    timeout and extra_body. A picture of another form than `format`, or than the ending of the file that `out`
    names, is converted.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        super().__init__(ImageRouter(configs, **options))

    def generate(self, task: str, prompt: str, **arguments: Any) -> ImageResponse:
        """Make pictures of a prompt as the task's route says.

        Raises:
            RouteError: no candidate is left, or the task is none for pictures.
            ParamError: an argument is wrong, no candidate can take the call as it is, or `out` cannot be
                written.
            UnsavedError: the pictures came, and a file could not be written; its `response` has them.
            FallbackExhausted: every attempt failed: content_filter where the prompt or the picture was
                blocked, no_media where a text came instead, malformed where no picture could be read.
        """
        response: ImageResponse = self._loop.run(
            self.router.run(self.router.begin(task, prompt, **arguments))
        )
        return response

    async def agenerate(self, task: str, prompt: str, **arguments: Any) -> ImageResponse:
        """Make pictures inside a running event loop; arguments and errors as `generate`."""
        response: ImageResponse = await self.router.run(self.router.begin(task, prompt, **arguments))
        return response

    def explain(self, task: str, prompt: str = "a picture", **arguments: Any) -> Route:
        """Where `generate` with the same arguments would go, why, and with which bodies. No network.

        Raises:
            RouteError, ParamError: as `generate`.
        """
        return self.router.explain(task, prompt, **arguments)
