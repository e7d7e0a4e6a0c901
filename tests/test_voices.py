"""The local voices: real servers, both languages; what they say, refuse and cost, and when they end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import json
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from llmbench.catalog import ModelSpec
from llmbench.providers import embedded, local_models
from llmbench.providers.embedded import EmbeddedServer, metered, request_count
from llmbench.providers.hosts import EmbeddedHost
from tests.embedded_clients import client, is_alive, settled_count, skip_unless_voice, wait_gone

JAPANESE = "今日は天気がいいです。"
ENGLISH = "The weather is nice today."


@contextlib.contextmanager
def serving(name: str, folder: Path) -> Iterator[EmbeddedServer]:
    skip_unless_voice(name)
    with client(name, folder) as holder:
        holder.server_pid()
        server = embedded.running_server(name, state_root=folder)
        assert server is not None
        yield server


@pytest.fixture(scope="module")
def mei_joe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with serving("mei-joe", tmp_path_factory.mktemp("mei-joe")) as server:
        yield server


@pytest.fixture(scope="module")
def kokoro(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with serving("kokoro", tmp_path_factory.mktemp("kokoro")) as server:
        yield server


@pytest.fixture(params=["mei_joe", "kokoro"])
def server(request: pytest.FixtureRequest) -> EmbeddedServer:
    return request.getfixturevalue(request.param)


def connect(server: EmbeddedServer, timeout_s: float = 60) -> http.client.HTTPConnection:
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    return http.client.HTTPConnection(host, int(port), timeout=timeout_s)


def post(
    server: EmbeddedServer, body: Any, *, key: str | None = None, path: str = "/v1/audio/speech"
) -> tuple[int, str, bytes]:
    connection = connect(server)
    headers = {"Authorization": f"Bearer {key or server.api_key}"}
    with contextlib.closing(connection):
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, reply.headers["content-type"], reply.read()


def say(server: EmbeddedServer, text: str, **options: Any) -> bytes:
    status, kind, body = post(server, {"model": server.name, "input": text, **options})
    assert status == 200, body
    assert kind == "audio/wav"
    return body


def refusal(server: EmbeddedServer, body: Any, **options: Any) -> tuple[int, str, str]:
    status, kind, answer = post(server, body, **options)
    assert kind == "application/json"
    error = json.loads(answer)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error["code"], error["message"]


def seconds(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
        return sound.getnframes() / sound.getframerate()


# ---- what is said


@pytest.mark.embedded
@pytest.mark.parametrize("text", [JAPANESE, ENGLISH])
def test_a_voice_speaks_both_languages_at_a_human_pace_and_the_same_each_time(
    server: EmbeddedServer, text: str
) -> None:
    first = say(server, text)
    assert 0.8 < seconds(first) < 4
    fast = say(server, text, speed=2)
    assert 0.35 < seconds(fast) / seconds(first) < 0.75
    assert say(server, text) == first


@pytest.mark.embedded
def test_the_samples_alone_are_the_files_own(mei_joe: EmbeddedServer) -> None:
    for text, rate_hz in ((JAPANESE, 48_000), (ENGLISH, 22_050)):
        status, kind, samples = post(mei_joe, {"input": text, "response_format": "pcm"})
        assert (status, kind) == (200, f"audio/L16;rate={rate_hz}")
        with wave.open(io.BytesIO(say(mei_joe, text))) as sound:
            assert sound.getframerate() == rate_hz
            assert sound.readframes(sound.getnframes()) == samples
        loudest = max(
            abs(int.from_bytes(samples[i : i + 2], "little", signed=True)) for i in range(0, 60_000, 2)
        )
        assert 3_000 < loudest <= 32_768


@pytest.mark.embedded
def test_the_script_decides_the_language_unless_it_is_named(mei_joe: EmbeddedServer) -> None:
    assert say(mei_joe, "OK", language="ja") != say(mei_joe, "OK")
    assert say(mei_joe, "OK", language="en-US") == say(mei_joe, "OK")
    assert say(mei_joe, "OKです。") == say(mei_joe, "OKです。", language="ja", voice="mei")


@pytest.mark.embedded
def test_each_voice_of_a_model_sounds_its_own(kokoro: EmbeddedServer) -> None:
    spoken = {say(kokoro, "はい。", voice=voice) for voice in ("jf_alpha", "jf_gongitsune", "jm_kumo")}
    assert len(spoken) == 3
    assert say(kokoro, "はい。", voice="jf_alpha") in spoken
    assert say(kokoro, "はい。") in spoken


@pytest.mark.embedded
def test_sentences_add_up_and_a_title_ends_none(mei_joe: EmbeddedServer) -> None:
    pause_s = 0.2
    one, two = seconds(say(mei_joe, "Mr. Smith is here.")), seconds(say(mei_joe, ENGLISH))
    both = seconds(say(mei_joe, f"Mr. Smith is here. {ENGLISH}"))
    assert both == pytest.approx(one + pause_s + two, abs=0.001)


@pytest.mark.embedded
def test_no_pause_is_made_within_a_sentence(mei_joe: EmbeddedServer) -> None:
    text = "Prof. Smith met J. K. Rowling at No. 5, e.g. on Jan. 3."
    _, _, samples = post(mei_joe, {"input": text, "response_format": "pcm"})
    pause = bytes(2 * int(0.15 * 22_050))
    assert pause not in samples
    assert pause in post(mei_joe, {"input": f"{text} {ENGLISH}", "response_format": "pcm"})[2]


@pytest.mark.embedded
def test_nothing_of_a_text_is_left_for_the_next_one(mei_joe: EmbeddedServer) -> None:
    before = say(mei_joe, ENGLISH)
    numbered = seconds(say(mei_joe, "We live at No. 5"))
    assert say(mei_joe, ENGLISH) == before
    assert numbered > seconds(say(mei_joe, "We live at No.")) + 0.1


_PHONEMES = """
import sys
from llmbench.providers.voice_engines import Espeak
espeak = Espeak()
for text in sys.argv[1:]:
    print(espeak.phonemes(text))
"""


@pytest.mark.embedded
def test_the_stop_of_an_abbreviation_is_spoken_as_none(mei_joe: EmbeddedServer) -> None:
    def read(*texts: str) -> list[str]:
        command = [sys.executable, "-c", _PHONEMES, *texts]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    pairs = {
        "Prof. J. K. Lee came.": "Prof J K Lee came.",
        "It is at No. 5.": "It is at No 5.",
        "Mr. Lee of St. Paul": "Mr Lee of St Paul",
        "A Ph.D. of the U.S. economy": "A PhD of the US economy",
        "One, etc., and two": "One, etc, and two",
    }
    found = read(*pairs, *pairs.values())
    assert found[: len(pairs)] == found[len(pairs) :]
    assert read("It rains, e.g. today.")[0].endswith("ɛɡzˈæmpəl tədˈeɪ.")
    assert read('He said "Stop. Now." and left.')[0].count(".") == 2


@pytest.mark.embedded
@pytest.mark.parametrize("text", ["彼を𠮟る。", "禰豆子が来た。", "𩸽と鱻と囍", "んぁ、えーぇ。"])
def test_a_rare_kanji_is_spoken(server: EmbeddedServer, text: str) -> None:
    assert 0.5 < seconds(say(server, text)) < 4


@pytest.mark.embedded
def test_the_official_sdk_speaks_and_raises_its_own_errors(mei_joe: EmbeddedServer) -> None:
    with openai.OpenAI(base_url=mei_joe.base_url, api_key=mei_joe.api_key, max_retries=0) as sdk:
        speak = sdk.audio.speech.create
        reply = speak(model="mei-joe", voice="joe", input=ENGLISH, response_format="wav", speed=1.25)
        assert seconds(reply.content) > 0.5
        with pytest.raises(openai.BadRequestError, match="there is no voice 'alloy'"):
            speak(model="mei-joe", voice="alloy", input=ENGLISH, response_format="wav")
        with pytest.raises(openai.NotFoundError, match="speaks with 'mei-joe' only"):
            speak(model="tts-1", voice="joe", input=ENGLISH, response_format="wav")
    stranger = openai.OpenAI(base_url=mei_joe.base_url, api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError, match="key is missing or wrong"):
        stranger.audio.speech.create(model="mei-joe", voice="joe", input=ENGLISH)


# ---- what is refused


@pytest.mark.embedded
def test_a_kanji_without_a_reading_is_named_before_anything_is_spoken(server: EmbeddedServer) -> None:
    before = request_count(server)
    status, code, message = refusal(server, {"input": "今日は天気がいい。习近平氏が们と来た。"})
    assert (status, code) == (400, "unsupported_character")
    assert message.startswith("no reading is known of '习们' in input: write those words in kana")
    assert request_count(server) == before
    say(server, JAPANESE)


@pytest.mark.embedded
def test_a_refused_request_says_why_in_openais_form_and_takes_no_slot(mei_joe: EmbeddedServer) -> None:
    before = request_count(mei_joe)
    assert refusal(mei_joe, {"input": ENGLISH}, key="wrong")[:2] == (401, "invalid_api_key")
    assert refusal(mei_joe, {"input": " "})[:2] == (400, "empty_input")
    assert refusal(mei_joe, b"[")[:2] == (400, "invalid_json")
    assert refusal(mei_joe, {"input": "x" * 70_000})[:2] == (413, "body_too_large")
    assert refusal(mei_joe, {"input": ENGLISH}, path="/v1/chat/completions")[:2] == (404, "not_found")
    assert request_count(mei_joe) == before
    say(mei_joe, ENGLISH)
    assert settled_count(mei_joe, before + 1) == before + 1


@pytest.mark.embedded
def test_health_is_open_and_the_voices_are_told_to_who_has_the_key(kokoro: EmbeddedServer) -> None:
    def get(path: str, headers: dict[str, str]) -> tuple[int, Any]:
        with contextlib.closing(connect(kokoro)) as connection:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    assert get("/health", {}) == (200, {"status": "ok"})
    assert get("/props", {})[0] == 401
    status, facts = get("/props", {"Authorization": f"Bearer {kokoro.api_key}"})
    assert status == 200
    assert facts["model"] == "kokoro"
    assert facts["version"] == kokoro.version == local_models.model_version("kokoro")
    assert facts["voices"]["jf_alpha"] == ["ja", "en"]


# ---- servers, their cost and their end


@pytest.mark.embedded
def test_two_processes_share_a_voice_server_and_it_ends_with_the_last(tmp_path: Path) -> None:
    skip_unless_voice("mei-joe")
    with client("mei-joe", tmp_path) as first, client("mei-joe", tmp_path) as second:
        pid = first.server_pid()
        assert second.server_pid() == pid
        first.kill()
        time.sleep(1.2)
        assert is_alive(pid), "the server ended under its second client"
        second.kill()
        assert wait_gone(pid) < 3
    assert not (tmp_path / "mei-joe" / "server.json").exists()


@pytest.mark.embedded
def test_requests_at_once_are_spoken_one_after_the_other_and_each_is_charged_its_own(
    mei_joe: EmbeddedServer,
) -> None:
    def work(text: str) -> tuple[bytes, float]:
        with metered(mei_joe) as meter:
            wav = say(mei_joe, text)
        return wav, meter.cpu_s or 0.0

    long, short = f"{JAPANESE}{JAPANESE}{JAPANESE}" * 4, "はい。"
    with ThreadPoolExecutor(3) as pool:
        spoken = list(pool.map(work, [long, short, long]))
    assert spoken[0][0] == spoken[2][0] == say(mei_joe, long)
    assert spoken[1][0] == say(mei_joe, short)
    if sys.platform.startswith("linux"):
        assert 0 < spoken[1][1] < spoken[0][1]


@pytest.mark.embedded
def test_the_voice_itself_speaks_one_request_at_a_time(mei_joe: EmbeddedServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _n: say(mei_joe, ENGLISH * 5), range(4)))) == 1
    lines = (mei_joe.state_dir / "server.log").read_text().splitlines()
    assert len(lines) >= 8
    assert all("processing task" in line for line in lines[::2])
    assert all("stop processing" in line for line in lines[1::2])


@pytest.mark.embedded
def test_a_client_that_leaves_frees_the_voice_after_the_sentence(kokoro: EmbeddedServer) -> None:
    before = request_count(kokoro)
    connection = connect(kokoro)
    headers = {"Authorization": f"Bearer {kokoro.api_key}"}
    connection.request("POST", "/v1/audio/speech", json.dumps({"input": JAPANESE * 20}), headers)
    while request_count(kokoro) == before:
        time.sleep(0.01)
    connection.close()
    started = time.monotonic()
    say(kokoro, "はい。")
    assert time.monotonic() - started < 6, "twenty sentences take more than ten seconds"
    assert settled_count(kokoro, before + 2) == before + 2


@pytest.mark.embedded
def test_the_log_tells_of_requests_and_never_of_texts(mei_joe: EmbeddedServer) -> None:
    say(mei_joe, "Zaphodbeeblebrox.")
    refusal(mei_joe, {"input": "Zaphod привет"})
    log = (mei_joe.state_dir / "server.log").read_text().lower()
    assert "zaphod" not in log
    assert mei_joe.api_key not in log


@pytest.mark.embedded
def test_the_host_of_the_embedded_models_leases_a_voice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_unless_voice("mei-joe")
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    spec = ModelSpec(key="v", provider="local", model_id="mei-joe", wire="chat")
    host = EmbeddedHost()

    async def call() -> tuple[bytes, float | None, str | None]:
        async with host.lease(spec) as lease:
            connection = http.client.HTTPConnection(
                lease.base_url.removeprefix("http://").removesuffix("/v1")
            )
            body = json.dumps({"model": spec.model_id, "input": ENGLISH})
            connection.request("POST", "/v1/audio/speech", body, dict(lease.headers))
            wav = connection.getresponse().read()
            connection.close()
        return wav, lease.cpu_s, lease.version

    try:
        assert host.is_reachable(spec)
        wav, cpu_s, version = asyncio.run(call())
    finally:
        embedded.release("mei-joe")
    assert seconds(wav) > 0.8
    assert version == host.version(spec)
    assert not sys.platform.startswith("linux") or 0.01 < (cpu_s or 0) < 20
