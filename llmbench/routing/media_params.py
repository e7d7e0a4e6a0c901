"""Parameters of image and speech calls: canonical names, accepted spellings, checked types. Pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from llmbench.config.model import MediaModality
from llmbench.errors import ParamError
from llmbench.messages import Adjustment
from llmbench.structuring import brief, is_number

#: The formats that a picture or a narration can be asked for in.
IMAGE_FORMATS: Final = ("png", "jpeg", "webp")
SPEECH_FORMATS: Final = ("wav", "mp3", "opus", "flac", "aac")
PARAMETERS: Final[Mapping[MediaModality, tuple[str, ...]]] = {
    "image": (
        "n",
        "size",
        "aspect_ratio",
        "negative_prompt",
        "seed",
        "quality",
        "format",
        "background",
        "style",
        "timeout",
    ),
    "speech": (
        "voice",
        "speakers",
        "language",
        "speed",
        "instructions",
        "format",
        "sample_rate_hz",
        "split",
        "piece_chars",
        "at_once",
        "timeout",
    ),
}
_ALIASES: Final[Mapping[MediaModality, Mapping[str, str]]] = {
    "image": {
        "num_images": "n",
        "image_size": "size",
        "ratio": "aspect_ratio",
        "output_format": "format",
        "response_format": "format",
    },
    "speech": {
        "voice_name": "voice",
        "lang": "language",
        "rate": "speed",
        "output_format": "format",
        "response_format": "format",
        "sample_rate": "sample_rate_hz",
    },
}
#: Pixels as "1536x1024", or the longest edge as "1K", "2K", "4K" (Gemini's imageSize).
SIZE: Final = re.compile(r"(?P<width>[1-9]\d{0,4})x(?P<height>[1-9]\d{0,4})|[124]K")
RATIO: Final = re.compile(r"(?P<width>[1-9]\d{0,3}):(?P<height>[1-9]\d{0,3})")

#: Pictures of one call at most; each of them is paid for.
_MOST_PICTURES: Final = 100

Check = Callable[[Any], bool]


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and is_number(value) and value >= least


def _is_positive(value: Any) -> bool:
    return is_number(value) and bool(value > 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_speakers(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_is_text, [*value, *value.values()]))


_CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "n": (
        lambda value: _is_whole(value, 1) and value <= _MOST_PICTURES,
        f"a whole number of 1 to {_MOST_PICTURES}",
    ),
    "size": (
        lambda value: isinstance(value, str) and SIZE.fullmatch(value) is not None,
        "WIDTHxHEIGHT in pixels such as 1024x1024, or 1K, 2K or 4K",
    ),
    "aspect_ratio": (
        lambda value: isinstance(value, str) and RATIO.fullmatch(value) is not None,
        "a ratio such as 16:9",
    ),
    "seed": (lambda value: _is_whole(value, 0), "a whole number of at least 0"),
    "timeout": (_is_positive, "a number of seconds over 0"),
    "speed": (_is_positive, "a number over 0; 1 is the voice's own"),
    "speakers": (_are_speakers, "a mapping of speaker names in the text to voices"),
    "sample_rate_hz": (lambda value: _is_whole(value, 4000) and value <= 192_000, "4000 to 192000"),
    "split": (lambda value: value in ("size", "sentence"), "`size` or `sentence`"),
    "piece_chars": (lambda value: _is_whole(value, 1), "a whole number of characters of at least 1"),
    "at_once": (lambda value: _is_whole(value, 1), "a whole number of requests of at least 1"),
}
_FORMATS: Final[Mapping[MediaModality, tuple[str, ...]]] = {"image": IMAGE_FORMATS, "speech": SPEECH_FORMATS}


def merge(
    kind: MediaModality, layers: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
    """Canonical options of several layers, later ones winning, and how the winning ones were renamed.

    An option takes away what it excludes in the layers under its own, and a None the option of its name.
    Options of one layer that exclude each other stay: the guard of the kind refuses them.

    Raises:
        ParamError: as `normalise`.
    """
    options: dict[str, Any] = {}
    renamed: dict[str, Adjustment] = {}
    for layer in layers:
        canonical, changes = normalise(kind, layer)
        gone = set(cleared(kind, layer))
        gone |= {
            under
            for under, before in options.items()
            if any(_excludes(name, value, under, before) for name, value in canonical.items())
        }
        options = {name: value for name, value in options.items() if name not in gone} | canonical
        gone |= set(canonical)
        renamed = {name: change for name, change in renamed.items() if name not in gone}
        renamed |= {str(change.after): change for change in changes}
    return options, tuple(renamed.values())


def cleared(kind: MediaModality, options: Mapping[str, Any]) -> tuple[str, ...]:
    """The canonical names of the options that are given as None."""
    return tuple(_ALIASES[kind].get(name, name) for name, value in options.items() if value is None)


def _excludes(name: str, value: Any, under: str, before: Any) -> bool:
    """Whether an option takes the place of another one of a lower layer.

    One voice or several speakers; and a size in pixels says its aspect ratio, which `2K` does not.
    """
    pair = {name: value, under: before}
    if pair.keys() == {"size", "aspect_ratio"}:
        return "x" in pair["size"]
    return pair.keys() == {"voice", "speakers"}


def normalise(
    kind: MediaModality, options: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Adjustment, ...]]:
    """Canonical names and checked values of a call's options; a value of None is none.

    Raises:
        ParamError: a name is unknown (with a did-you-mean) or given twice under two names, or a value is
            wrong.
    """
    canonical: dict[str, Any] = {}
    renamed: list[Adjustment] = []
    for name, value in options.items():
        target = _ALIASES[kind].get(name, name)
        if target not in PARAMETERS[kind] and target != "extra_body":
            close = difflib.get_close_matches(name, [*PARAMETERS[kind], *_ALIASES[kind]], n=1, cutoff=0.6)
            known = f"known: {', '.join(PARAMETERS[kind])}, extra_body"
            hint = f"did you mean {close[0]!r}?" if close else known
            raise ParamError(f"unknown {kind} parameter {name!r}; {hint}")
        if value is None:
            continue
        if target in canonical:
            raise ParamError(f"{target} is given twice (once as {name}); keep one")
        canonical[target] = _checked(kind, target, value)
        if target != name:
            renamed.append(Adjustment(name, "renamed", name, target, "canonical name"))
    return canonical, tuple(renamed)


def _checked(kind: MediaModality, name: str, value: Any) -> Any:
    if name == "extra_body":
        if not isinstance(value, Mapping):
            raise ParamError(f"extra_body must be a mapping: {value!r:.80}")
        try:
            json.dumps(dict(value), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ParamError(f"extra_body is no plain JSON: {error}") from error
        return dict(value)
    if name == "format":
        spelt = {"jpg": "jpeg", "ogg": "opus", "m4a": "aac"}.get(str(value).lower(), str(value).lower())
        if spelt not in _FORMATS[kind]:
            raise ParamError(f"format {value!r:.40} is none of {', '.join(_FORMATS[kind])}")
        return spelt
    is_right, wanted = _CHECKS.get(name, (_is_text, "a text"))
    if not is_right(value):
        raise ParamError(f"{name} must be {wanted}: {brief(value)}")
    return value
