"""Scorers of pictures: what was measured of them, and whether a caption in them can be read.

`output` is the one line of JSON that a sweep keeps of a picture, with the path of its file.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from llmbench.bench.answers import normalise
from llmbench.bench.dataset import Sample
from llmbench.bench.media_store import answer_of, figure, remembered
from llmbench.bench.scorers.registry import Params, Schema, Score, needs, scorer
from llmbench.display.media_pixels import on_white
from llmbench.errors import DatasetError, SweepError
from llmbench.routing.media_params import RATIO, SIZE

_INSTALL: Final = 'pip install "llmbench[ocr]"'
#: Lines of a picture that may be one caption.
_MOST_LINES: Final = 4
#: Pixels of the longer edge that the recogniser gets; it scales down to 2,000 itself, more slowly.
_LONGEST_PX: Final = 2048
#: Pixels of the shorter edge below which no letter can be read.
_LETTERS_PX: Final = 8
#: The longer edge over the shorter at most.
_MOST_RATIO: Final = 4
#: Of the way a picture is made ready, as part of the name under which its lines are kept.
_LOOK: Final = "v2"
_reading = threading.Lock()


class PictureParams(Params):
    """Parameters of `picture`.

    Attributes:
        tolerance: the share by which a side, or the ratio of both, may be off.
        min_contrast: the least contrast, from 0 to 1; a picture of one colour has 0.
    """

    tolerance: float = Field(default=0.03, ge=0, lt=1)
    min_contrast: float = Field(default=0.02, gt=0, le=1)


@scorer("picture", PictureParams, modality="image")
def picture(params: PictureParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when the picture has the size or ratio that was asked for and is not blank, else 0.

    `valid`: a picture came. `shape`: its sides are those of `checks.size` (pixels), its ratio that of
    `checks.aspect_ratio`, within the tolerance; 1 where nothing is asked. `contrast`: it is not nearly of one
    colour.
    """
    wanted = _wanted(sample)
    answer = _picture(output)
    if answer is None:
        return Score(0.0, {"valid": 0.0})
    shape = all(each.fits(answer, params.tolerance) for each in wanted)
    details = {
        "valid": 1.0,
        "shape": float(shape),
        "contrast": float(figure(answer, "contrast") >= params.min_contrast),  # a missing one is 0
    }
    return Score(math.prod(details.values()), details)


def _missing(_params: Any) -> str | None:
    if importlib.util.find_spec("rapidocr") is None or importlib.util.find_spec("rapidfuzz") is None:
        return f"reads captions with a package that is not installed; run {_INSTALL}"
    return None


@scorer("picture_text", PictureParams, modality="image", missing=_missing)
def picture_text(params: PictureParams, output: str, sample: Sample, schema: Schema) -> Score:
    """As `picture`, times how much of `checks.caption` can be read in the picture; 1 where none is asked for.

    `legible` is 1 - the Levenshtein distance of the nearest of the picture's lines of text, or of several
    that follow each other, for each character of the caption, after `normalise` and without blanks.
    """
    caption = sample.checks.get("caption")
    if caption is not None:
        letters = _letters(needs(caption, str, sample, "checks.caption is no text"))
        if not letters:
            raise DatasetError(f"sample {sample.id}: checks.caption has no letter; correct the dataset")
    got = picture(params, output, sample, schema)
    if caption is None or got.details["valid"] == 0:
        return got
    answer = _picture(output) or {}
    legible = _legible(letters, read_lines(Path(str(answer.get("file")))))
    return Score(got.value * legible, {**got.details, "legible": legible})


def read_lines(path: Path) -> list[list[str]]:
    """The lines of text in a picture from its top to its bottom, as it is and turned into its negative.

    White letters on a dark ground are read better so. The picture lies on white where it is transparent, and
    its longer edge is made 2,048 pixels at most. Nothing is read in what cannot be decoded, is too large or
    too thin to hold letters, or is more than the recogniser can take. Kept beside the file.

    Raises:
        DatasetError: the file cannot be opened, or a package is missing.
    """
    engine = _engine()
    label = f"rapidocr-{version('rapidocr')}-{_LOOK}"
    found = remembered(path, label, lambda: json.dumps(_looked(path, engine), ensure_ascii=False))
    return [[str(line) for line in lines] for lines in json.loads(found)]


def _looked(path: Path, engine: Any) -> list[list[str]]:
    import numpy as np

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"the picture {path} cannot be read: {error}") from error
    try:
        pixels = np.asarray(on_white(data, _LONGEST_PX))[:, :, ::-1]  # the recogniser takes blue first
    except SweepError:
        return [[], []]
    if min(pixels.shape[:2]) < _LETTERS_PX:
        return [[], []]
    padded = _padded(pixels)
    with _reading:
        return [_lines(engine, np.ascontiguousarray(each)) for each in (padded, 255 - padded)]


def _padded(pixels: Any) -> Any:
    """A strip between borders like its edges: the recogniser scales a short side up, and a long with it."""
    import numpy as np

    least = -(-max(pixels.shape[:2]) // _MOST_RATIO)
    more = [max(least - side, 0) for side in pixels.shape[:2]]
    around = [(each // 2, each - each // 2) for each in more]
    return np.pad(pixels, [*around, (0, 0)], mode="edge")


def _lines(engine: Any, pixels: Any) -> list[str]:
    try:
        found = engine(pixels)
    except _faults():
        return []
    return _in_order(found)


@functools.cache
def _faults() -> tuple[type[Exception], ...]:
    """What the library raises of pixels that it cannot take; its own errors share no class."""
    own = (
        ("rapidocr.ch_ppocr_det.utils", "ResizeImgError"),
        ("rapidocr.utils.process_img", "ResizeImgError"),
        ("rapidocr.inference_engine.onnxruntime.main", "ONNXRuntimeError"),
        ("cv2", "error"),
    )
    named = [getattr(importlib.import_module(module), name) for module, name in own]
    return (*named, ValueError, LookupError, ArithmeticError)


def _in_order(found: Any) -> list[str]:
    """The lines that were found: from top to bottom, those of one height from left to right."""
    if found.txts is None:
        return []
    tops = [min(corner[1] for corner in box) for box in found.boxes]
    heights = [max(corner[1] for corner in box) - top for box, top in zip(found.boxes, tops, strict=True)]
    row = max(sorted(heights)[len(heights) // 2], 1.0)
    lefts = [min(corner[0] for corner in box) for box in found.boxes]
    order = sorted(range(len(tops)), key=lambda at: (round(tops[at] / row), lefts[at]))
    return [str(found.txts[at]) for at in order]


@functools.cache
def _engine() -> Any:
    try:
        rapidocr = importlib.import_module("rapidocr")
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"the scorer `picture_text` needs a package that is not installed (rapidocr); run {_INSTALL}"
        ) from error
    return rapidocr.RapidOCR(params={"Global.log_level": "error"})


def _legible(letters: str, readings: Sequence[Sequence[str]]) -> float:
    """How near the nearest run of lines of a reading is to a caption, 0 to 1."""
    distance = importlib.import_module("rapidfuzz.distance").Levenshtein.distance
    nearest = len(letters)
    for lines in readings:
        plain = [_letters(line) for line in lines]
        for start in range(len(plain)):
            runs = ("".join(plain[start : start + count]) for count in range(1, _MOST_LINES + 1))
            nearest = min(nearest, *(distance(letters, run) for run in runs))
    return 1.0 - nearest / len(letters)


def _letters(text: str) -> str:
    return "".join(char for char in normalise(text) if not char.isspace())


def _picture(output: str) -> dict[str, Any] | None:
    """What was measured of a picture that came, or None."""
    answer = answer_of(output)
    if answer is None or answer["media"] != "image":
        return None
    return answer if figure(answer, "width") > 0 and figure(answer, "height") > 0 else None


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is asked of a picture: its pixels, or the ratio of its sides."""

    width: float
    height: float
    is_pixels: bool

    def fits(self, answer: Mapping[str, Any], tolerance: float) -> bool:
        across, down = figure(answer, "width"), figure(answer, "height")
        pairs = [(across, self.width), (down, self.height)]
        if not self.is_pixels:
            pairs = [(across / down, self.width / self.height)]
        return all(abs(got - asked) <= tolerance * asked for got, asked in pairs)


def _wanted(sample: Sample) -> list[_Shape]:
    """What a sample asks of its picture's shape.

    Raises:
        DatasetError: a check is none.
    """
    forms = (("size", SIZE, "pixels such as 1024x1024"), ("aspect_ratio", RATIO, "a ratio such as 16:9"))
    found = []
    for name, form, what in forms:
        asked = sample.checks.get(name)
        match = form.fullmatch(asked) if isinstance(asked, str) else None
        if asked is not None and (match is None or match["width"] is None):
            raise DatasetError(f"sample {sample.id}: checks.{name} is not {what}; correct the dataset")
        if match is not None:
            found.append(_Shape(float(match["width"]), float(match["height"]), name == "size"))
    return found
