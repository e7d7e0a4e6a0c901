"""The guard of speech calls: canonical parameters x what a voice takes -> what is sent, and what was changed.

The whole is joined, resampled and encoded here, so format and sample rate never depend on the model; that
they did not go to it as asked is an adjustment all the same. Another voice or language than the one asked for
would be another narration, and is refused. Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbench.audio import FORMATS, nearest_rate
from llmbench.catalog import ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Adjustment
from llmbench.narration import split_text
from llmbench.routing.dialogue import fit_speakers

#: Characters of one piece where the model's limit is unknown: a minute or two of speech.
_PIECE_CHARS: Final = 600
_SPEEDS: Final = (0.25, 4.0)  # source: OpenAI's reference of audio/speech
#: What can be joined without loss goes first.
_WIRE_FORMATS: Final = ("wav", "pcm", "flac", "opus", "mp3", "aac")
#: Parameters that are for the joining alone.
_OWN: Final = frozenset({"format", "sample_rate_hz", "split", "piece_chars", "at_once", "timeout"})


@dataclass(frozen=True, slots=True)
class GuardedSpeech:
    """What goes on the wire with each piece of the text, and what was changed.

    `pieces` are the texts in order; `rate_hz` is that of raw audio whose rate the answer does not name;
    `whole_hz` is that of the whole, None for that of the first piece.
    """

    params: Mapping[str, Any]
    pieces: tuple[str, ...]
    rate_hz: int
    adjustments: tuple[Adjustment, ...]
    whole_hz: int | None = None


def guard_speech(spec: ModelSpec, text: str, options: Mapping[str, Any], form: str = "wav") -> GuardedSpeech:
    """Fit a speech call to one model; `form` is the whole's format, a key of `audio.FORMATS`.

    Raises:
        ParamError: nothing in the text can be spoken, or the model has not the voice, the language or the
            speakers, or a dialogue is not of the speakers that are named.
    """
    if not text.strip():
        raise ParamError("the text is empty; give what is to be spoken")
    params = {name: value for name, value in options.items() if name not in _OWN}
    changes = [
        *_fit_voice(spec, params),
        *fit_speakers(text, params.get("speakers")),
        *_fit_manner(spec, params),
    ]
    wire_format = _wire_format(spec)
    rates: Sequence[int] = spec.media.get("sample_rates_hz", ())
    asked = options.get("format")
    if asked is not None and asked != wire_format:
        rule = f"{spec.key} is asked for {wire_format}; encoded here"
        changes.append(Adjustment("format", "moved", asked, wire_format, rule))
    whole_hz, moved = _fit_rate(rates, options.get("sample_rate_hz"), form)
    changes += moved
    if spec.wire == "speech":
        params["format"] = wire_format
    limit, asked_chars = _piece_limit(spec, options), options.get("piece_chars")
    if asked_chars is not None and asked_chars > limit:
        rule = f"{spec.key} takes no more at once (max_prompt_chars, max_prompt_tokens)"
        changes.append(Adjustment("piece_chars", "clamped", asked_chars, limit, rule))
    pieces = split_text(
        text,
        limit,
        by_sentence=options.get("split") == "sentence",
        is_dialogue="speakers" in options,
    )
    if not pieces:
        raise ParamError("the text has no letter and no digit: nothing in it can be spoken")
    return GuardedSpeech(params, tuple(pieces), rates[0] if rates else 24_000, tuple(changes), whole_hz)


def _fit_rate(rates: Sequence[int], asked: int | None, form: str) -> tuple[int | None, list[Adjustment]]:
    """The rate of the whole in Hz, None for that of the first piece, and how it is not what was asked for."""
    possible = FORMATS[form].rates_hz
    known = [*rates, *(possible if len(possible) == 1 else ())]
    if asked is None:
        return nearest_rate(known[0], possible) if known else None, []
    whole_hz = nearest_rate(asked, possible)
    if whole_hz != asked:
        rule = f"such a file has {', '.join(map(str, possible))} Hz"
        return whole_hz, [Adjustment("sample_rate_hz", "clamped", asked, whole_hz, rule)]
    if list(rates) != [asked]:
        return whole_hz, [Adjustment("sample_rate_hz", "moved", asked, None, "resampled here")]
    return whole_hz, []


def late_change(
    key: str, came_hz: Collection[int], whole_hz: int, planned_hz: int | None
) -> Adjustment | None:
    """What the rates that the pieces of a narration came at lost in the whole, or None.

    Where no rate was planned the first piece set it, and any other is told; else only a higher one, since
    nothing is lost of a lower one.
    """
    others = sorted(set(came_hz) - {whole_hz})
    if not others or (planned_hz is not None and others[-1] < whole_hz):
        return None
    rule = f"{key} spoke at {', '.join(map(str, sorted(came_hz)))} Hz; a whole has one rate, resampled here"
    return Adjustment("sample_rate_hz", "moved", others, whole_hz, rule)


def refuse_contradiction(options: Mapping[str, Any]) -> None:
    """Refuse one voice beside several speakers; the names are canonical.

    Raises:
        ParamError: both are given.
    """
    if options.get("speakers") and "voice" in options:
        raise ParamError("give voice for one speaker or speakers for several, not both")


def _fit_voice(spec: ModelSpec, params: dict[str, Any]) -> list[Adjustment]:
    """Refuse what would be another narration; a language that need not be said is left out."""
    voices: Sequence[str] = spec.media.get("voices", ())
    speakers: Mapping[str, str] = params.get("speakers", {})
    for voice in (params.get("voice"), *speakers.values()):
        if voice is not None and voices and voice not in voices:
            close = difflib.get_close_matches(voice, voices, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(voices)}"
            raise ParamError(f"{spec.key} has no voice {voice!r}; {hint}")
    refuse_contradiction(params)
    most = spec.media.get("max_speakers")
    if most is not None and len(speakers) > most:
        voices = f"{most} voice{'s' * (most != 1)} at once (max_speakers)"
        raise ParamError(f"{spec.key} speaks with {voices}, not {len(speakers)}")
    languages: Sequence[str] = spec.media.get("languages", ())
    language = params.get("language")
    if language is None:
        return []
    if languages and language.partition("-")[0].lower() not in {
        tag.partition("-")[0].lower() for tag in languages
    }:
        raise ParamError(f"{spec.key} does not speak {language!r}; it speaks {', '.join(languages)}")
    if not languages and spec.wire == "speech":
        del params["language"]
        rule = f"{spec.key} hears the language from the text (no languages in its entry)"
        return [Adjustment("language", "dropped", language, None, rule)]
    return []


def _fit_manner(spec: ModelSpec, params: dict[str, Any]) -> list[Adjustment]:
    """Speed and instructions as the model takes them."""
    changes = [
        Adjustment(name, "dropped", params.pop(name), None, f"{spec.key} has no {name} (supports_{name})")
        for name in ("speed", "instructions")
        if name in params and spec.media.get(f"supports_{name}") is False
    ]
    if spec.wire == "gemini" and "speed" in params:
        rule = "a request of wire gemini has no field for it; say it in instructions"
        changes.append(Adjustment("speed", "dropped", params.pop("speed"), None, rule))
    if "speed" in params:
        speed = params["speed"]
        params["speed"] = min(max(speed, _SPEEDS[0]), _SPEEDS[1])
        if params["speed"] != speed:
            rule = f"between {_SPEEDS[0]} and {_SPEEDS[1]}"
            changes.append(Adjustment("speed", "clamped", speed, params["speed"], rule))
    return changes


def _wire_format(spec: ModelSpec) -> str:
    """The format to ask the model for; raw where the wire has no choice."""
    if spec.wire == "gemini":
        return "pcm"
    formats: Sequence[str] = spec.media.get("formats", ())
    return next((name for name in _WIRE_FORMATS if name in formats), "wav")


def _piece_limit(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """The most characters of one piece: a Japanese character may be a token of its own.

    What goes with every piece (instructions) takes its part of the model's limit.
    """
    chars, tokens = spec.media.get("max_prompt_chars"), spec.media.get("max_prompt_tokens")
    model: int | None = min((limit for limit in (chars, tokens) if limit is not None), default=None)
    wanted: int = options.get("piece_chars", _PIECE_CHARS)
    if model is None:
        return wanted
    left = model - (len(options.get("instructions", "")) + 2 if spec.wire == "gemini" else 0)
    if left < 1:
        raise ParamError(f"the instructions alone fill the limit of {spec.key} ({model}); shorten them")
    return min(wanted, left)
