"""The scorer of narrations: what was measured of the sound, its pace, and what a recogniser hears in it.

`output` is the one line of JSON that a sweep keeps of a narration, with the path of its file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from llmbench.bench.dataset import Sample
from llmbench.bench.media_store import answer_of, figure, remembered
from llmbench.bench.scorers.registry import Params, Schema, Score, needs, scorer, texts

#: Characters of text for each second of sound, within which a narrator speaks: the slowest and the fastest.
PACES: Final[Mapping[str, tuple[float, float]]] = {"ja": (3.5, 9.0), "en": (9.0, 22.0)}


class NarrationParams(Params):
    """Parameters of `narration`.

    Attributes:
        listen: whether a local recogniser hears the narration; without it four rules are left.
        min_rate_hz: the least sample rate in Hz.
        max_clipped: the largest share of clipped samples.
        max_silence: the largest share of silent frames.
        max_pause_s: the longest pause in seconds.
        pace: language -> the slowest and the fastest pace in characters a second; others are not held to one.
    """

    listen: bool = True
    min_rate_hz: int = Field(default=22_050, gt=0)
    max_clipped: float = Field(default=0.0005, gt=0, le=1)
    max_silence: float = Field(default=0.5, gt=0, lt=1)
    max_pause_s: float = Field(default=1.5, gt=0)
    pace: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(
        default_factory=lambda: {lang: list(bounds) for lang, bounds in PACES.items()}
    )

    @model_validator(mode="after")
    def _are_bounds(self) -> NarrationParams:
        for lang, (slowest, fastest) in self.pace.items():
            if not 0 < slowest < fastest < math.inf:
                raise ValueError(f"pace.{lang} is not [slowest, fastest] in characters a second")
        return self


def _missing(params: NarrationParams) -> str | None:
    from llmbench.bench import recogniser

    if not params.listen or recogniser.is_installed():
        return None
    return (
        'hears narrations with packages that are not installed; run pip install "llmbench[recognise]", or '
        "write `listen: false` into the scorer's params"
    )


@scorer("narration", NarrationParams, modality="speech", missing=_missing)
def narration(params: NarrationParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """The product of rules for the sound, its pace, and the share of the text that a recogniser hears in it.

    `rate`, `clipping`, `silence` and `pace` are 1 within their bounds and fall in proportion beyond them, and
    0 where their figure could not be measured. `silence` is the lower one of the share and the longest pause.
    `heard` is 1 - the character error rate of the round trip (Japanese by its reading), to the target or
    the nearest of `checks.accepted`: other ways to write what is heard.
    """
    target = needs(sample.target, str, sample, "the scorer `narration` needs a text as target")
    accepted = [target, *texts(sample, "accepted")]
    answer = answer_of(output) or {}
    duration_s = figure(answer, "duration_s")
    if answer.get("media") != "speech" or duration_s <= 0:
        return Score(0.0, {"heard": 0.0})
    details = {
        "rate": min(1.0, figure(answer, "rate_hz") / params.min_rate_hz),
        "clipping": _clipping(answer, params),
        "silence": _silence(answer, params),
        "pace": _pace(figure(answer, "characters") / duration_s, params.pace.get(_spoken(sample.lang))),
    }
    if params.listen:
        details["heard"] = _heard(Path(str(answer.get("file"))), accepted, _spoken(sample.lang))
    return Score(math.prod(details.values()), details)


def _heard(path: Path, accepted: list[str], lang: str) -> float:
    """How much of the nearest accepted text is heard, 0 to 1."""
    from llmbench.bench.recogniser import character_error_rate

    said = heard_in(path, lang)
    return max(0.0, 1.0 - min(character_error_rate(text, said, lang) for text in accepted))


def heard_in(path: Path, lang: str) -> str:
    """What a recogniser hears in a narration; kept beside the file, since hearing takes seconds.

    Raises:
        DatasetError: the recogniser is not installed, or the file cannot be heard.
    """
    from llmbench.bench.recogniser import recogniser_version, transcribe

    label = recogniser_version().replace(" sha256:", "-")
    return remembered(path, f"{label}-{lang}", lambda: transcribe(path, lang))


def _clipping(answer: Mapping[str, Any], params: NarrationParams) -> float:
    if "clipped" in answer and answer["clipped"] is None:
        return 0.0
    return _within(figure(answer, "clipped"), params.max_clipped)


def _silence(answer: Mapping[str, Any], params: NarrationParams) -> float:
    if "silence" in answer and answer["silence"] is None:
        return 0.0
    spoken = (1.0 - min(figure(answer, "silence"), 1.0)) / (1.0 - params.max_silence)
    return min(1.0, spoken, _within(figure(answer, "pause_s"), params.max_pause_s))


def _within(value: float, most: float) -> float:
    return 1.0 if value <= most else most / value


def _pace(characters_s: float, bounds: list[float] | None) -> float:
    if bounds is None:
        return 1.0
    slowest, fastest = bounds
    if characters_s <= 0:
        return 0.0
    return min(1.0, characters_s / slowest, fastest / characters_s)


def _spoken(lang: str) -> str:
    return lang.partition("-")[0].casefold()
