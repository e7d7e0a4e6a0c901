"""The local recogniser: what a voice said is heard again; errors are what the ear tells apart."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmbench.bench import recogniser
from llmbench.bench.recogniser import character_error_rate, reading, transcribe
from llmbench.errors import DatasetError
from llmbench.providers import embedded, local_models


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not recogniser.is_installed():
        pytest.skip('the recogniser is not installed: pip install "llmbench[recognise]"')


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Has a text spoken into a file."""
    if not local_models.is_available("mei-joe"):
        pytest.skip("the voice mei-joe is not installed: run `llmbench models pull mei-joe`")
    folder = tmp_path_factory.mktemp("spoken")
    server = embedded.ensure_server("mei-joe", state_root=folder)

    def speak(text: str) -> Path:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://").removesuffix("/v1"))
        headers = {"Authorization": f"Bearer {server.api_key}"}
        connection.request("POST", "/v1/audio/speech", json.dumps({"input": text}), headers)
        path = folder / "spoken.wav"
        path.write_bytes(connection.getresponse().read())
        connection.close()
        return path

    yield speak
    embedded.release("mei-joe")


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("人工知能の研究が進んでいます。今週は新しい動画を公開します。", "ja"),
        ("Our new office opens next month. We are very happy about it.", "en"),
    ],
)
def test_a_spoken_text_is_heard_again_and_the_same_each_time(
    record: Callable[[str], Path], text: str, lang: str
) -> None:
    path = record(text)
    heard = transcribe(path, lang)
    assert character_error_rate(text, heard, lang) < 0.2
    assert transcribe(path, lang) == heard


@pytest.mark.parametrize(
    ("said", "heard", "lang", "rate"),
    [
        ("三時に始まります。", "3時に始まります", "ja", 0.0),
        ("リンゴを買う", "林檎を、かう。", "ja-JP", 0.0),
        ("あいうえお", "あいうえ", "ja", 0.2),
        ("It's Fine, everyday!", "its fine every day", "en", 0.0),
        ("abcd", "abxd", "en", 0.25),
        ("ab", "abcdef", "en", 2.0),
        ("...", "", "en", 0.0),
        ("。", "はい", "ja", 1.0),
        ("word", "", "en", 1.0),
    ],
)
def test_only_what_the_ear_tells_apart_counts(said: str, heard: str, lang: str, rate: float) -> None:
    assert character_error_rate(said, heard, lang) == pytest.approx(rate)


def test_a_reading_is_as_it_is_spoken() -> None:
    assert reading("今日は三時です。") == "キョーワサンジデス。"


@pytest.mark.parametrize(
    ("text", "read"),
    [("习が来た。", "习ガキタ。"), ("们们", "们们"), ("あ々ー", "ア々ー"), ("禰豆子", "ネトーコ")],
)
def test_a_kanji_without_a_reading_stands_for_itself(text: str, read: str) -> None:
    assert reading(text) == read


def test_a_text_that_cannot_be_read_is_still_compared() -> None:
    assert character_error_rate("习近平が来た", "习近平が来た", "ja") == 0
    assert 0 < character_error_rate("习近平が来た", "近平が来た", "ja") < 0.2
    assert character_error_rate("来た", "习", "ja") > 0


def test_a_file_without_sound_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.wav: there is no such sound file"):
        transcribe(tmp_path / "gone.wav", "en")
    path = tmp_path / "text.wav"
    path.write_text("not a sound")
    with pytest.raises(DatasetError, match=r"text\.wav: it cannot be heard"):
        transcribe(path, "en")


def test_a_missing_package_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyopenjtalk", None)
    with pytest.raises(
        DatasetError, match=r'pyopenjtalk, which is not installed: run pip install "llmbench\[rec'
    ):
        reading("はい")


def test_the_weights_are_joined_where_the_cache_is_and_damage_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "whisper-base"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"half")
    recogniser._model.__wrapped__()
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".json", ".txt")) == [
        "config.json",
        "model.bin",
        "tokenizer.json",
        "vocabulary.txt",
    ]
    assert (folder / "model.bin").stat().st_size == recogniser.WHISPER.size_bytes
