"""Speech calls leave us as they leave the providers' own SDKs, and both hear the same in the answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmbench.audio import decode
from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ProviderError
from llmbench.media import MediaAsk
from llmbench.providers.base import HttpReply
from llmbench.providers.gemini_speech import GeminiSpeechWire
from llmbench.providers.speech import SpeechWire
from tests.conformance.differences import as_ours
from tests.conformance.exchange import Seen, seen
from tests.conformance.recorded import FOLDER, load, names, request_of
from tests.conformance.speech_calls import SPEECH_CALLS, SPEECH_PLACES, TWO, SpeechPlace
from tests.servers.speech_provider import SpeechProvider

PLACE = {place.name: place for place in SPEECH_PLACES}
CASES = [(PLACE[name], call) for call in SPEECH_CALLS for name in call.places]
IDS = [f"{place.name}-{call.name}" for place, call in CASES]


class Voices:
    """The server, and the SDKs' clients at it: they load slowly."""

    def __init__(self, server: SpeechProvider) -> None:
        self.server = server
        self._sdks = {place.name: place.sdk(server.root + place.path, place.model) for place in SPEECH_PLACES}

    def theirs(self, place: SpeechPlace, **call: Any) -> bytes:
        return self._sdks[place.name].send(**call)

    def close(self) -> None:
        for sdk in self._sdks.values():
            sdk.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[Voices]:
    with SpeechProvider() as server:
        voices = Voices(server)
        yield voices
        voices.close()


@pytest.fixture
def voices(opened: Voices) -> Voices:
    opened.server.outcome = lambda _: "ok"
    return opened


@pytest.mark.parametrize(("place", "call"), CASES, ids=IDS)
def test_a_speech_call_leaves_us_as_it_leaves_the_official_sdk_and_is_answered_the_same(voices, place, call):
    heard = voices.theirs(place, **call.sdk)
    reply = place.sent(voices.server, call.ask()).reply
    theirs, ours = (seen(request) for request in voices.server.received[-2:])
    expected, _ = as_ours(place.name, theirs)
    assert ours == expected
    assert [blob.data for blob in reply.media] == [heard]
    assert decode(heard, reply.media[0].mime).samples > 0


def test_every_place_is_called():
    assert {place.name for place, _ in CASES} == set(PLACE)
    assert len(set(IDS)) == len(IDS)


#: How the SDK tells that a text was filtered or a limit was reached: by an error, or an answer without sound.
@pytest.mark.parametrize(
    ("name", "outcome", "theirs", "ours"),
    [
        ("openai-speech", "filtered", "BadRequestError", "content_filter"),
        ("azure-speech-dated", "filtered", "BadRequestError", "content_filter"),
        ("openrouter-speech", "filtered", "ForbiddenResponseError", "content_filter"),
        ("gemini-speech-v1", "filtered", "TypeError", "content_filter"),
        ("openai-speech", "rate_limit", "RateLimitError", "rate_limit"),
        ("openrouter-speech", "rate_limit", "TooManyRequestsResponseError", "rate_limit"),
        ("gemini-speech-v1", "rate_limit", "ClientError", "rate_limit"),
    ],
)
def test_what_the_sdk_raises_is_an_error_of_ours_with_its_kind(voices, name, outcome, theirs, ours):
    voices.server.outcome = lambda _: outcome
    place = PLACE[name]
    call = next(call for where, call in CASES if where is place)
    assert _raised(lambda: voices.theirs(place, **call.sdk)) == theirs
    try:
        kind = place.sent(voices.server, call.ask()).reply.problem.kind
    except ProviderError as error:
        kind = error.kind
    assert kind == ours


def _raised(send: Callable[[], object]) -> str:
    try:
        send()
    except Exception as error:  # noqa: BLE001 -- each SDK has errors of its own
        return type(error).__name__
    return "nothing"


# ---- the recordings

SPOKEN = [name for name in names() if "-speech" in name or "-tts" in name]
recorded = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recorded exchanges are not beside this checkout (shared/wire/captures)"
)
#: What each recorded answer is to us: the kind of what is wrong with it, or its samples.
OUTCOMES = {
    "azure-speech-deployments": "no_media",
    "azure-speech-v1": "no_media",
    "gemini-tts": 24,
    "gemini-tts-multispeaker": 24,
    "openrouter-speech": "malformed",
}


def _asked(name: str, body: dict[str, Any]) -> MediaAsk:
    """The call that a recorded body is."""
    if "contents" in body:
        is_talk = "multiSpeakerVoiceConfig" in body["generationConfig"]["speechConfig"]
        params: dict[str, Any] = {"speakers": TWO} if is_talk else {"voice": "Kore"}
        return MediaAsk(body["contents"][0]["parts"][0]["text"], params)
    names_of = {"response_format": "format"}
    own = {names_of.get(key, key): value for key, value in body.items() if key not in ("model", "input")}
    return MediaAsk(body["input"], own)


def _spec_and_wire(name: str, body: dict[str, Any], path: str) -> tuple[ModelSpec, Any]:
    if "contents" in body:
        return ModelSpec("m", "p", path.rpartition("/")[2].partition(":")[0], "gemini"), GeminiSpeechWire()
    return ModelSpec("m", "p", body["model"], "speech"), SpeechWire()


@recorded
@pytest.mark.parametrize("name", SPOKEN)
def test_our_request_for_a_recorded_call_is_the_recorded_one(name):
    request = request_of(name)
    dialect = "gemini" if name.startswith("gemini") else name
    theirs, _ = as_ours(dialect, Seen("POST", request["path"], {}, {}, request["json"]))
    body = json.loads(json.dumps(theirs.body))
    spec, wire = _spec_and_wire(name, body, request["path"])
    assert wire.body(spec, _asked(name, body)) == body
    kind = name.partition("-")[0]
    version = request["query"].get("api-version")
    base = "/api/v1" if kind == "openrouter" else ""
    endpoint = Endpoint("p", kind, f"https://h.test{base}", api_version=version)
    query = f"?api-version={version}" if version else ""
    assert base + wire.path(spec, endpoint) == request["path"] + query


@recorded
@pytest.mark.parametrize("name", SPOKEN)
def test_our_reading_of_a_recorded_answer_is_the_documented_outcome(name):
    answer, body = load(name)["response"], request_of(name)["json"]
    raw = answer["body"]
    data = base64.b64decode(raw["__base64__"]) if "__base64__" in raw else json.dumps(raw).encode()
    _, wire = _spec_and_wire(name, body, request_of(name)["path"])
    reply = wire.parse(HttpReply(answer["status"], answer["headers"], data), body)
    assert reply.problem is None
    try:
        found: object = decode(reply.media[0].data, reply.media[0].mime).samples
    except ProviderError as error:
        found = error.kind
    assert found == OUTCOMES[name]
    assert (reply.usage.output_tokens == 32) is name.startswith("gemini")


@recorded
def test_every_recording_of_speech_is_replayed():
    assert set(SPOKEN) == set(OUTCOMES)
