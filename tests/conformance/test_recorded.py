"""The recorded exchanges, replayed: our request for the same call, and our reading of the same answer."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.providers.send import wire_for
from tests.conformance.differences import as_ours
from tests.conformance.exchange import Seen
from tests.conformance.outcomes import OTHER_APIS, OUTCOMES
from tests.conformance.recorded import FOLDER, is_stream, names, outcome, request_of, wire_of
from tests.conformance.replay import body_of, say
from tests.servers.chat_server import ChatServer

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recorded exchanges are not beside this checkout (shared/wire/captures)"
)
SPOKEN = [name for name in names() if wire_of(name) is not None]
#: Requests that no call of ours makes, and why.
UNSAID: Mapping[str, str] = {
    "llamacpp-chat-json-schema-flat": "the flat form is not enforced there; ours is nested",
    "llamacpp-schema-flat": "as llamacpp-chat-json-schema-flat",
    "llamacpp-chat-json-object-schema": "llama.cpp's own spelling; ours is json_schema",
    "llamacpp-schema-json-object-schema": "as llamacpp-chat-json-object-schema",
    "llamacpp-chat-json-object": "ours adds the word JSON, which other hosts ask for in JSON mode",
    "llamacpp-schema-json-object": "as llamacpp-chat-json-object",
    "llamacpp-chat-effort-bogus": "refused before it is sent",
    "llamacpp-error-bad-response-format": "refused before it is sent",
    "llamacpp-error-bad-schema": "refused before it is sent",
    "llamacpp-error-bad-json": "no JSON at all",
    "llamacpp-error-no-messages": "refused before it is sent",
    "llamacpp-error-temperature-type": "refused before it is sent",
    "gemini-generate-both-level-and-budget": "refused before it is sent",
    "gemini-generate-response-schema": "the older form with types of its own; ours is responseJsonSchema",
    "openrouter-chat-reasoning-maxtokens-dropped": "the SDK dropped what it was given and sent {}",
}
#: Recorded paths that are the SDK's mistake or choice, and ours in their place.
PATHS: Mapping[str, str] = {
    "azure-chat-v1-azureclient": "/openai/v1/chat/completions",
}


@pytest.fixture(scope="module")
def server():
    with ChatServer() as running:
        yield running


def _dialect(name: str) -> str:
    wire = wire_of(name)
    if wire == "chat":
        return "openrouter" if name.startswith("openrouter-") else "chat"
    return "openai-responses" if wire == "responses" else "gemini"


@pytest.mark.parametrize("name", [name for name in SPOKEN if name not in UNSAID])
def test_our_request_for_the_same_call_is_the_recorded_one(name):
    request, wire = request_of(name), wire_of(name)
    recorded = {key: value for key, value in request["json"].items() if key != "model"}
    theirs, _ = as_ours(_dialect(name), Seen("POST", request["path"], {}, {}, recorded))
    body = {key: value for key, value in theirs.body.items() if key not in ("stream", "stream_options")}
    assert body_of(wire, say(wire, json.loads(json.dumps(theirs.body)))) == body


@pytest.mark.parametrize("name", SPOKEN)
def test_our_path_for_the_same_call_is_the_recorded_one(name):
    request, wire = request_of(name), wire_of(name)
    version = request["query"].get("api-version") if "/openai/v1/" not in request["path"] else None
    model, base = _model_and_base(name)
    kind = "azure" if name.startswith("azure-") else "gemini" if wire == "gemini" else "openai_compatible"
    endpoint = Endpoint("p", type=kind, base_url="https://h.test" + base, api_version=version)
    spec = ModelSpec("m", "p", model, wire)
    path = wire_for(spec).stream_path if is_stream(name) else wire_for(spec).path
    query = (
        f"?api-version={version}" if version else "?alt=sse" if wire == "gemini" and is_stream(name) else ""
    )
    assert base + path(spec, endpoint) == PATHS.get(name, request["path"]) + query


def _model_and_base(name: str) -> tuple[str, str]:
    path, wire = request_of(name)["path"], wire_of(name)
    if "/deployments/" in path:
        return path.split("/deployments/")[1].split("/")[0], ""
    if wire == "gemini":
        return path.split("/models/")[1].split(":")[0], ""
    if name.startswith("azure-"):
        return "m", ""
    return "m", path.removesuffix("/chat/completions").removesuffix("/responses")


@pytest.mark.parametrize("name", SPOKEN)
def test_our_reading_of_the_recorded_answer_is_the_documented_outcome(server, name):
    assert outcome(server, name) == OUTCOMES[name]


def test_every_recording_is_replayed_or_of_another_api():
    assert set(names()) == set(OUTCOMES) | OTHER_APIS
    assert not set(OUTCOMES) & OTHER_APIS
    assert set(UNSAID) <= set(SPOKEN)
