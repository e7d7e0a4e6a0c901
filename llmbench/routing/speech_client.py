"""SpeechClient: the door for narration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmbench.config.model import Config
from llmbench.media import Piece, SpeechResponse
from llmbench.messages import Route
from llmbench.routing.door import Door
from llmbench.routing.media_router import SpeechRouter
from llmbench.routing.resolve import Wanted, task_rules
from llmbench.routing.streaming import Stream


class SpeechClient(Door[SpeechRouter]):
    """Have a text spoken; tasks, tiers and models are those of `speech_models.yaml`.

    A long text is split at its sentences, spoken by several requests at once and joined without a gap.
    `synthesize` works in a script, in a notebook and from several threads; `asynthesize` inside a running
    event loop. `llmbench.routing.media_asked.media_asked` explains every argument; the parameters are voice,
    speakers (name in the text -> voice), language, speed, instructions, format (wav, mp3, opus, flac, aac;
    else by the ending of `out`: .wav .mp3 .opus .ogg .flac .m4a .mp4 .aac), sample_rate_hz, split ("size", or
    "sentence" for one piece a sentence), piece_chars, at_once, timeout and extra_body.

    Without sample_rate_hz the whole has the first rate of the model's `sample_rates_hz`, else that of its
    first piece. A rate that the format has not becomes the next that it has; Opus always plays at 48000 Hz.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        super().__init__(SpeechRouter(configs, **options))

    def synthesize(self, task: str, text: str, **arguments: Any) -> SpeechResponse:
        """Have a text spoken as the task's route says.

        Raises:
            RouteError: no candidate is left, or the task is none for speech.
            ParamError: an argument is wrong, no candidate can take the call as it is, or `out` cannot be
                written.
            FallbackExhausted: every attempt failed.
        """
        response: SpeechResponse = self._loop.run(self.router.run(self.router.begin(task, text, **arguments)))
        return response

    async def asynthesize(self, task: str, text: str, **arguments: Any) -> SpeechResponse:
        """Have a text spoken inside a running event loop; arguments and errors as `synthesize`."""
        response: SpeechResponse = await self.router.run(self.router.begin(task, text, **arguments))
        return response

    def stream(self, task: str, text: str, **arguments: Any) -> Stream[Piece, SpeechResponse]:
        """The pieces of a narration as they are spoken: `async for`, or a plain `for` where no loop runs.

        Arguments and errors as `synthesize`. Once a piece has come, no other model takes over.
        """
        call: Any = self.router.begin(task, text, **arguments)
        return Stream(self.router.stream_speech(call), self._loop.run)

    def explain(self, task: str, text: str | None = None, **arguments: Any) -> Route:
        """Where `synthesize` with the same arguments would go, and the body of its first piece. No network.

        Without a text it is one in which each of the speakers says something, if there are any.

        Raises:
            RouteError, ParamError: as `synthesize`.
        """
        if text is None:
            text = self._example(task, arguments.get("speakers"))
        return self.router.explain(task, text, **arguments)

    def _example(self, task: str, speakers: object) -> str:
        """A text for the speakers of the call, or of what the file says of its task."""
        rules = task_rules(self.config, Wanted(task)) if isinstance(task, str) else []
        given = [speakers, *(rule.options.get("speakers") for rule in rules)]
        names = next((each for each in given if isinstance(each, Mapping)), {})
        return "\n".join(f"{name}: A text." for name in names) or "A text."
