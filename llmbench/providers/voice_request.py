"""What a voice server is asked for: OpenAI's speech request, read and checked. Pure.

Refusals are in OpenAI's form, so that its SDK raises its own errors. What would have to be guessed or left
out is refused: an unknown parameter, a voice that does not speak the language, a script that no voice reads.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

#: OpenAI's own limits.
MOST_CHARACTERS: Final = 4096
SLOWEST, FASTEST = 0.25, 4.0

Format = Literal["wav", "pcm"]
_FORMATS: Final[tuple[Format, ...]] = ("wav", "pcm")
_KNOWN: Final = frozenset(
    {"model", "input", "voice", "response_format", "speed", "language", "stream_format"}
)
_JAPANESE: Final = (
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "CJK UNIFIED",
    "CJK COMPATIBILITY",
    "IDEOGRAPHIC",
)
_LATIN: Final = ("LATIN", "FULLWIDTH LATIN")


@dataclass(frozen=True, slots=True)
class Ask:
    """One checked request.

    Attributes:
        text: what to say; no control characters but line feeds.
        language: "ja" or "en".
        voice: the voice's name, one that speaks the language.
        speed: 1 is the voice's own pace, 2 twice as fast.
        format: a WAV file, or its bare samples.
    """

    text: str
    language: str
    voice: str
    speed: float
    format: Format


class Refused(ValueError):
    """A request that cannot be served.

    Attributes:
        status: the HTTP status of the answer.
        body: the answer, in OpenAI's form.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def read_ask(body: bytes, model: str, voices: Mapping[str, Iterable[str]]) -> Ask:
    """The request in a body.

    Args:
        body: JSON.
        model: the one model that the server has.
        voices: its voices, each with the languages that it speaks; the first that fits is the default.

    Raises:
        Refused: the body is no such request, or asks for what the server cannot do.
    """
    fields = _object(body)
    named = fields.get("model", model)
    if named != model:
        raise Refused(
            f"this server speaks with {model!r} only", code="model_not_found", param="model", status=404
        )
    text = _text(fields.get("input"))
    language = _language(fields.get("language"), text)
    return Ask(
        text,
        language,
        _voice(fields.get("voice"), language, voices),
        _speed(fields.get("speed")),
        _format(fields.get("response_format")),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused("the body is not a JSON object", code="invalid_json")
    if unknown := sorted(fields.keys() - _KNOWN):
        raise Refused(
            f"unknown parameter {unknown[0]!r}: this server knows {', '.join(sorted(_KNOWN))}",
            code="unknown_parameter",
            param=unknown[0],
        )
    if fields.get("stream_format") not in (None, "audio"):
        raise Refused("stream_format can be audio only", code="invalid_value", param="stream_format")
    return fields


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise Refused("input must be a text", code="invalid_type", param="input")
    text = "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else " " for c in given)
    text = unicodedata.normalize("NFC", text).strip()  # the dictionaries hold no letter beside its mark
    if not any(c.isalnum() for c in text):
        raise Refused("input is empty: it has nothing that can be said", code="empty_input", param="input")
    if len(text) > MOST_CHARACTERS:
        raise Refused(
            f"input has {len(text)} characters, more than {MOST_CHARACTERS}: split it at sentence ends",
            code="string_above_max_length",
            param="input",
        )
    if any(unicodedata.category(c) == "Cs" for c in text):
        raise Refused("input holds half a surrogate pair", code="invalid_value", param="input")
    return text


def script_language(text: str) -> str:
    """The language that a text's script tells: "ja" where it has kana or kanji, else "en".

    Raises:
        Refused: it has words in a script that neither is written in. A single letter counts as a symbol.
    """
    scripts = {char: _script(char) for char in set(text)}
    for script, run in itertools.groupby(text, key=lambda char: scripts[char]):
        word = "".join(run)
        if script == "other" and len(word) > 1:
            raise Refused(
                f"the voices read Japanese and English; input has a word in another script: {word[:20]!r}",
                code="unsupported_language",
                param="input",
            )
    return "ja" if "ja" in scripts.values() else "en"


def _script(char: str) -> Literal["ja", "latin", "other", ""]:
    """The script of a letter; nothing for all else."""
    if not char.isalpha():
        return ""
    name = unicodedata.name(char, "")
    if name.startswith(_JAPANESE):
        return "ja"
    return "latin" if name.startswith(_LATIN) or "MODIFIER LETTER" in name else "other"


def _language(given: Any, text: str) -> str:
    by_script = script_language(text)
    if given is None:
        return by_script
    language = given.replace("_", "-").partition("-")[0].lower() if isinstance(given, str) else ""
    if language not in ("ja", "en"):
        raise Refused(
            f"language is ja or en, not {_shown(given)}", code="unsupported_language", param="language"
        )
    if language == "en" and by_script == "ja":
        raise Refused(
            "an English voice cannot read kana and kanji: leave language away, or say ja",
            code="unsupported_language",
            param="language",
        )
    return language


def _voice(given: Any, language: str, voices: Mapping[str, Iterable[str]]) -> str:
    fitting = [name for name, languages in voices.items() if language in languages]
    if given is None:
        return fitting[0]
    if not isinstance(given, str) or given not in voices:
        known = ", ".join(voices)
        raise Refused(
            f"there is no voice {_shown(given)}: use one of {known}", code="invalid_voice", param="voice"
        )
    if given not in fitting:
        raise Refused(
            f"the voice {given!r} does not speak {language!r}: use {', '.join(fitting)}, or leave voice away",
            code="invalid_voice",
            param="voice",
        )
    return given


def _speed(given: Any) -> float:
    if given is None:
        return 1.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not SLOWEST <= given <= FASTEST:
        raise Refused(
            f"speed is a number from {SLOWEST} to {FASTEST}, not {_shown(given)}",
            code="invalid_value",
            param="speed",
        )
    return float(given)


def _format(given: Any) -> Format:
    for known in _FORMATS:
        if given == known or given is None:
            return known
    raise Refused(
        f"response_format is wav or pcm, not {_shown(given)}", code="invalid_value", param="response_format"
    )


def _shown(given: Any) -> str:
    """What was given, as an error shows it."""
    return repr(given)[:60]
