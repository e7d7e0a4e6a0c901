"""The guard of image calls: canonical parameters x what a model takes -> what is sent, and what was changed.

Pixels and ratios are turned into each other where a model knows one of them only. A capability that the file
does not name is unknown, and its parameter is sent as it is. What cannot be left out without another picture
coming (reference pictures, a prompt over the limit) is refused. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.catalog import ModelSpec
from llmbench.errors import ParamError
from llmbench.media import Blob
from llmbench.messages import Adjustment
from llmbench.routing.media_params import RATIO, SIZE
from llmbench.routing.prepare import text_tokens

#: Pixels of the longest edge that the names of Gemini's sizes stand for.
_EDGES: Final[Mapping[str, int]] = {"1K": 1024, "2K": 2048, "4K": 4096}
#: Dialects that have a number of pictures in a request, sizes by name alone, and no size at all.
_BATCHES: Final = frozenset({"images"})
_NAMED_SIZES: Final = frozenset({"chat", "gemini"})
_NO_SIZES: Final = frozenset({"workflow"})
#: What a dialect has no field for, besides shapes; a negative prompt only where the model's entry says so.
_NO_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "images": frozenset({"negative_prompt"}),
    "workflow": frozenset({"negative_prompt", "format", "quality", "background", "style"}),
    **dict.fromkeys(
        ("chat", "gemini"), frozenset({"negative_prompt", "format", "quality", "background", "style"})
    ),
}
_HAS_NEGATIVE: Final = frozenset({"images", "workflow"})
_RATIOS: Final = ("1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "21:9")
#: Of a ratio alone, a size is made with about so many pixels, in steps that encoders like.
_PIXELS: Final = 1024 * 1024
_STEP: Final = 16
_NO_SUCH_SHAPE: Final = "no size that the model makes has this shape; the size stays"


@dataclass(frozen=True, slots=True)
class GuardedImage:
    """What goes on the wire: parameters, how many pictures each request asks for, what was changed."""

    params: Mapping[str, Any]
    batches: tuple[int, ...]
    adjustments: tuple[Adjustment, ...]


@dataclass(slots=True)
class _Fit:
    """Parameters on their way, with the changes so far."""

    spec: ModelSpec
    params: dict[str, Any]
    changes: list[Adjustment] = field(default_factory=list)

    def can(self, name: str) -> bool | None:
        """What the file says of a capability; a list of choices says yes, and a dialect may say no."""
        if name == "size" and self.spec.wire in _NO_SIZES:
            return False
        said: bool | None = self.spec.media.get(f"supports_{name}")
        return True if said is None and self.choices(name) else said

    def choices(self, name: str) -> Sequence[str]:
        """The values that the model takes, empty when unknown."""
        listed: Sequence[str] = self.spec.media.get(f"{name}s", ())
        if name == "size" and self.spec.wire in _NAMED_SIZES:
            return [size for size in listed if size in _EDGES] or list(_EDGES)
        return listed

    def drop(self, name: str, rule: str) -> None:
        """Leave a parameter out."""
        self.changes.append(Adjustment(name, "dropped", self.params.pop(name), None, rule))

    def put(self, name: str, value: str, rule: str) -> None:
        """Give a parameter another value of the same kind."""
        self.changes.append(Adjustment(name, "clamped", self.params[name], value, rule))
        self.params[name] = value

    def move(self, name: str, target: str, value: str, rule: str) -> None:
        """Say one parameter by another."""
        before = self.params.pop(name)
        self.changes.append(Adjustment(name, "moved", before, {target: value}, rule))
        self.params[target] = value


def guard_image(
    spec: ModelSpec, prompt: str, options: Mapping[str, Any], references: Sequence[Blob] = ()
) -> GuardedImage:
    """Fit an image call to one model.

    Raises:
        ParamError: the prompt is empty or over the model's limit, the model takes no reference pictures, or
            size and aspect ratio contradict each other.
    """
    check_prompt(spec, prompt, "prompt")
    key = spec.key
    if references and spec.media.get("supports_reference_images") is False:
        raise ParamError(f"{key} takes no reference pictures (supports_reference_images); name another model")
    wanted: int = options.get("n", 1)
    fit = _Fit(spec, {name: value for name, value in options.items() if name not in ("n", "timeout")})
    _drop_what_is_not(fit)
    _fit_shape(fit)
    most = spec.media.get("max_batch_n") or wanted if spec.wire in _BATCHES else 1
    batches = [most] * (wanted // most) + ([wanted % most] if wanted % most else [])
    if len(batches) > 1:
        said = "max_batch_n" if spec.wire in _BATCHES else f"wire {spec.wire}"
        rule = f"{key} makes {most} at a time ({said}): sent as {len(batches)} requests"
        fit.changes.append(Adjustment("n", "moved", wanted, most, rule))
        if "seed" in fit.params:
            seed = fit.params["seed"]
            rule = "counted up in each request by the pictures asked for before it"
            fit.changes.append(Adjustment("seed", "moved", seed, None, rule))
    return GuardedImage(fit.params, tuple(batches), tuple(fit.changes))


def _drop_what_is_not(fit: _Fit) -> None:
    """Leave out what the model or its dialect has not; a format is made here all the same."""
    spec, no_fields = fit.spec, _NO_FIELDS.get(fit.spec.wire, frozenset())
    for name in [name for name in fit.params if name not in ("size", "aspect_ratio")]:
        said = spec.media.get(f"supports_{name}")
        is_sent = said is True and spec.wire in _HAS_NEGATIVE
        if said is False:
            fit.drop(name, f"{spec.key} has no {name} (supports_{name})")
        elif name == "format" and name in no_fields:
            fit.changes.append(Adjustment(name, "moved", fit.params.pop(name), None, "converted here"))
        elif name in no_fields and not is_sent:
            fit.drop(name, f"a request of wire {spec.wire} has no field for it")


def check_prompt(spec: ModelSpec, text: str, what: str) -> None:
    """Refuse a text that is empty or that the model would cut; nothing is cut here either.

    Raises:
        ParamError: it is.
    """
    if not text.strip():
        raise ParamError(f"the {what} is empty; write what is wanted")
    chars, tokens = spec.media.get("max_prompt_chars"), spec.media.get("max_prompt_tokens")
    if chars is not None and len(text) > chars:
        raise ParamError(
            f"the {what} has {len(text)} characters, {spec.key} takes {chars} (max_prompt_chars)"
        )
    if tokens is not None and (counted := text_tokens(text)) > tokens:
        raise ParamError(
            f"the {what} has about {counted} tokens, {spec.key} takes {tokens} (max_prompt_tokens)"
        )


def _fit_shape(fit: _Fit) -> None:
    """Size and aspect ratio as the model knows them."""
    params = fit.params
    if "size" in params and "aspect_ratio" in params:
        refuse_contradiction(params)
        if fit.can("size") is False:
            fit.drop("size", f"{fit.spec.key} takes no size (supports_size); the aspect ratio stays")
    if "size" in params:
        _fit_size(fit)
    if "aspect_ratio" in params:
        _fit_ratio(fit)
    if {"size", "aspect_ratio"} <= set(params) and _is_contradiction(params["size"], params["aspect_ratio"]):
        fit.drop("aspect_ratio", _NO_SUCH_SHAPE)


def _fit_size(fit: _Fit) -> None:
    size, listed, key = fit.params["size"], fit.choices("size"), fit.spec.key
    pixels, ratio = _pixels(size), fit.params.get("aspect_ratio")
    if fit.can("size") is False:
        if pixels is None or fit.can("aspect_ratio") is False:
            fit.drop("size", f"{key} takes no size (supports_size)")
        else:
            near_ratio = _near_ratio(pixels, fit.choices("aspect_ratio"))
            rule = f"{key} takes an aspect ratio, no pixels (supports_size)"
            fit.move("size", "aspect_ratio", near_ratio, rule)
    elif size in listed:
        return
    elif listed and all(choice in _EDGES for choice in listed):
        _name_size(fit, size, listed)
    elif listed:
        near = _near_size(pixels or _shape_of(ratio, size), listed)
        fit.put("size", near, f"the nearest that {key} makes (sizes)")
    elif pixels is None and fit.can("aspect_ratio") is False:  # so the entry says that it takes pixels
        rule = f"{key} takes pixels, no aspect ratio: the longest edge of {size} in {ratio or '1:1'}"
        fit.put("size", "{}x{}".format(*_shape_of(ratio, size)), rule)


def _name_size(fit: _Fit, size: str, listed: Sequence[str]) -> None:
    """A size as the nearest of the names of edges that the model has; the ratio of pixels beside it."""
    pixels, ratio = _pixels(size), fit.params.get("aspect_ratio")
    edge = max(pixels or _shape_of(ratio, size))
    near = min(listed, key=lambda choice: abs(math.log(_EDGES[choice] / edge)))
    rule = f"{fit.spec.key} names its sizes {', '.join(listed)}"
    if pixels is not None and ratio is None and fit.can("aspect_ratio") is not False:
        ratio = _near_ratio(pixels, fit.choices("aspect_ratio"))
        change = Adjustment("aspect_ratio", "moved", None, ratio, f"{rule}: the ratio of {size}")
        fit.changes.append(change)
        fit.params["aspect_ratio"] = ratio
    fit.put("size", near, rule)


def _fit_ratio(fit: _Fit) -> None:
    ratio, listed, key = fit.params["aspect_ratio"], fit.choices("aspect_ratio"), fit.spec.key
    if fit.can("aspect_ratio") is False:
        if "size" in fit.params and _pixels(fit.params["size"]) is not None:
            is_lost = _is_contradiction(fit.params["size"], ratio)
            fit.drop("aspect_ratio", _NO_SUCH_SHAPE if is_lost else "the size says it")
            return
        if "size" in fit.params or fit.can("size") is False:
            fit.drop("aspect_ratio", f"{key} takes no aspect ratio (supports_aspect_ratio)")
            return
        listed = fit.choices("size")
        sizes = [size for size in listed if _pixels(size)]
        if listed and not sizes:
            fit.drop("aspect_ratio", f"{key} takes no aspect ratio, and its sizes are of one shape")
            return
        size = _near_size(_shape_of(ratio), sizes) if sizes else "{}x{}".format(*_shape_of(ratio))
        fit.move("aspect_ratio", "size", size, f"{key} takes pixels, no aspect ratio (supports_aspect_ratio)")
    elif listed and ratio not in listed:
        fit.put("aspect_ratio", _near_ratio(_shape_of(ratio), listed), f"the nearest that {key} makes")


def refuse_contradiction(options: Mapping[str, Any]) -> None:
    """Refuse a size in pixels beside an aspect ratio of another shape; the names are canonical.

    Raises:
        ParamError: both are given, and they contradict each other.
    """
    size, ratio = options.get("size"), options.get("aspect_ratio")
    if size is not None and ratio is not None and _is_contradiction(size, ratio):
        raise ParamError(f"size {size} and aspect_ratio {ratio} contradict each other; give one of them")


def _is_contradiction(size: str, ratio: str) -> bool:
    """Whether a size in pixels is of another shape, by more than a tenth."""
    pixels, wanted = _pixels(size), _shape_of(ratio)
    return pixels is not None and abs(math.log(pixels[0] / pixels[1] / (wanted[0] / wanted[1]))) > 0.1


def _pixels(size: str) -> tuple[int, int] | None:
    """Width and height of a size in pixels; None for one that is a name."""
    found = SIZE.fullmatch(size)
    if found is None or found["width"] is None:
        return None
    return int(found["width"]), int(found["height"])


def _shape_of(ratio: str | None, size: str | None = None) -> tuple[int, int]:
    """Pixels of a ratio: with the longest edge of a named size, or of about a million in all."""
    found = RATIO.fullmatch(ratio or "1:1")
    across, down = (int(found["width"]), int(found["height"])) if found else (1, 1)
    edge = _EDGES.get(size or "")
    if edge is not None:
        scale = edge / max(across, down)
    else:
        scale = math.sqrt(_PIXELS / (across * down))
    return _stepped(across * scale), _stepped(down * scale)


def _stepped(pixels: float) -> int:
    return max(round(pixels / _STEP), 1) * _STEP


def _near_size(shape: tuple[int, int], listed: Sequence[str]) -> str:
    """The listed size of the nearest shape, and among those of like shape the nearest in pixels."""

    def distance(size: str) -> float:
        width, height = _pixels(size) or _shape_of(None, size)
        ratio = math.log(width / height / (shape[0] / shape[1]))
        return 4 * abs(ratio) + abs(math.log(width * height / (shape[0] * shape[1])))

    return min(listed, key=distance)


def _near_ratio(shape: tuple[int, int], listed: Sequence[str]) -> str:
    """The listed aspect ratio nearest to a shape; of the usual ones when none is listed."""

    def distance(ratio: str) -> float:
        width, height = _shape_of(ratio)
        return abs(math.log(width / height / (shape[0] / shape[1])))

    return min(listed or _RATIOS, key=distance)
