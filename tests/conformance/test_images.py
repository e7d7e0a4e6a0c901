"""Image calls leave us as they leave the providers' own SDKs, and both read the same pictures back."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from llmbench.catalog import Capabilities, Endpoint, ModelSpec
from llmbench.errors import ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.messages import Usage
from tests.conformance.calls import DATA_URL, PIXEL, image, words
from tests.conformance.differences import as_ours
from tests.conformance.exchange import seen
from tests.conformance.image_places import IMAGE_PLACES, ImagePlace, sent
from tests.servers.chat_server import failure
from tests.servers.image_answers import COST_USD, NO_PICTURE, TOKENS_IN, TOKENS_OUT, WORDS
from tests.servers.image_provider import ImageProvider, image_provider

PROMPT = "赤い立方体。A red cube."
PLACE = {place.name: place for place in IMAGE_PLACES}
OPENAI = ("openai-images", "azure-images-dated", "azure-images-v1")


@dataclass(frozen=True)
class ImageCall:
    """One call in both tongues, at the places where it can be made."""

    name: str
    places: tuple[str, ...]
    sdk: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Blob, ...] = ()
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def ask(self) -> MediaAsk:
        return MediaAsk(PROMPT, self.params, self.references, self.extra_body)


def _chat(content: Any = PROMPT, **more: Any) -> dict[str, Any]:
    turn = {"role": "user", "content": content}
    return {"messages": [turn], "modalities": ["image", "text"], **more}


def _gemini(*parts: Any, **config: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": PROMPT}, *parts]}]
    return {"contents": contents, "config": {"response_modalities": ["TEXT", "IMAGE"], **config}}


SHAPE = {"aspect_ratio": "16:9", "size": "1K"}
LOOK = (Blob(PIXEL, "image/png"),)
SAFETY = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
CALLS = [
    ImageCall("minimal", (*OPENAI, "openrouter-images"), {"prompt": PROMPT}),
    ImageCall(
        "size", (*OPENAI, "openrouter-images"), {"prompt": PROMPT, "size": "1024x1024"}, {"size": "1024x1024"}
    ),
    ImageCall(
        "everything",
        (*OPENAI, "openrouter-images"),
        {
            "prompt": PROMPT,
            "n": 2,
            "size": "512x512",
            "quality": "low",
            "output_format": "jpeg",
            "background": "opaque",
            "user": "u1",
        },
        {"n": 2, "size": "512x512", "quality": "low", "format": "jpeg", "background": "opaque"},
        extra_body={"user": "u1"},
    ),
    ImageCall(
        "shape",
        ("openrouter-images",),
        {"prompt": PROMPT, "aspect_ratio": "16:9", "size": "1K", "seed": 7},
        {**SHAPE, "seed": 7},
    ),
    ImageCall(
        "reference",
        ("openrouter-images",),
        {"prompt": PROMPT, "input_references": [image(DATA_URL)]},
        references=LOOK,
    ),
    ImageCall("minimal", ("openrouter-chat-images",), _chat()),
    ImageCall(
        "shape",
        ("openrouter-chat-images",),
        _chat(image_config={"aspect_ratio": "16:9", "image_size": "1K"}, seed=7),
        {**SHAPE, "seed": 7},
    ),
    ImageCall(
        "reference",
        ("openrouter-chat-images",),
        _chat([words(PROMPT), image(DATA_URL)]),
        references=LOOK,
    ),
    ImageCall("minimal", ("gemini-images",), _gemini()),
    ImageCall(
        "shape",
        ("gemini-images",),
        _gemini(image_config={"aspect_ratio": "16:9", "image_size": "1K"}, seed=7),
        {**SHAPE, "seed": 7},
    ),
    ImageCall(
        "reference",
        ("gemini-images",),
        _gemini({"inline_data": {"mime_type": "image/png", "data": PIXEL}}),
        references=LOOK,
    ),
    ImageCall(
        "safety", ("gemini-images",), _gemini(safety_settings=SAFETY), extra_body={"safetySettings": SAFETY}
    ),
]
CASES = [(PLACE[name], call) for call in CALLS for name in call.places]
#: The least call of each place, for what is answered.
LEAST = {
    name: next(call for call in CALLS if name in call.places and call.name == "minimal") for name in PLACE
}


class Images:
    """The server, and the SDKs' clients at it: they load slowly."""

    def __init__(self, server: ImageProvider) -> None:
        self.server = server
        self._sdks = {
            place.name: place.sdk(server.base_url(place.kind), place.model) for place in IMAGE_PLACES
        }

    def theirs(self, place: ImagePlace, **call: Any) -> Any:
        return self._sdks[place.name].send(**call)

    def ours(self, place: ImagePlace, ask: MediaAsk) -> Any:
        return place.sent(self.server, ask).reply

    def close(self) -> None:
        for sdk in self._sdks.values():
            sdk.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[Images]:
    with image_provider() as server:
        images = Images(server)
        yield images
        images.close()


@pytest.fixture
def images(opened: Images) -> Images:
    opened.server.outcome = "ok"
    opened.server.polls = 1
    return opened


@pytest.mark.parametrize(("place", "call"), CASES, ids=[f"{place.name}-{call.name}" for place, call in CASES])
def test_an_image_call_leaves_us_as_it_leaves_the_official_sdk(images, place, call):
    images.theirs(place, **call.sdk)
    images.ours(place, call.ask())
    theirs, ours = (seen(request) for request in images.server.received[-2:])
    expected, _ = as_ours(place.name, theirs)
    assert ours == expected


# ---- what is answered


def _sdk_pictures(place: ImagePlace, result: Any) -> list[bytes]:
    """The pictures as the SDK has them."""
    if place.wire == "gemini":
        parts = (result.candidates or [])[0].content.parts or []
        return [part.inline_data.data for part in parts if part.inline_data]
    if place.wire == "chat":
        urls = [each.image_url.url for each in result.choices[0].message.images]
        return [base64.b64decode(url.partition(",")[2]) for url in urls]
    return [base64.b64decode(each.b64_json) for each in result.data]


def _sdk_usage(place: ImagePlace, result: Any) -> Usage:
    if place.wire == "gemini":
        usage = result.usage_metadata
        return Usage(usage.prompt_token_count, usage.candidates_token_count)
    usage = result.usage
    if place.kind == "openrouter":
        return Usage(usage.prompt_tokens, usage.completion_tokens)
    return Usage(usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize(("place", "call"), CASES, ids=[f"{place.name}-{call.name}" for place, call in CASES])
def test_the_sdk_reads_the_pictures_and_their_tokens_as_we_do(images, place, call):
    result = images.theirs(place, **call.sdk)
    reply = images.ours(place, call.ask())
    assert [blob.data for blob in reply.media] == _sdk_pictures(place, result)
    count = call.params.get("n", 1)
    assert reply.usage == _sdk_usage(place, result) == Usage(TOKENS_IN, TOKENS_OUT * count)
    assert len(reply.media) == count
    assert (reply.problem, reply.finish_reason) == (None, "stop")


@pytest.mark.parametrize("name", ["openrouter-images", "openrouter-chat-images"])
def test_openrouters_own_cost_of_a_picture_is_read_as_its_sdk_reads_it(images, name):
    result = images.theirs(PLACE[name], **LEAST[name].sdk)
    assert images.ours(PLACE[name], LEAST[name].ask()).reported_usd == result.usage.cost == COST_USD


@pytest.mark.parametrize(
    ("name", "params", "shape", "image_format"),
    [
        ("openai-images", {"size": "640x384", "format": "jpeg"}, (640, 384), "JPEG"),
        ("azure-images-dated", {"size": "384x640", "format": "webp"}, (384, 640), "WEBP"),
        ("openrouter-images", {"size": "1K", "aspect_ratio": "16:9"}, (1360, 768), "PNG"),
        ("openrouter-chat-images", {"size": "1K", "aspect_ratio": "1:1"}, (1024, 1024), "PNG"),
        ("gemini-images", {"aspect_ratio": "9:16"}, (768, 1360), "PNG"),
    ],
)
def test_the_stand_in_obeys_size_ratio_and_format(images, name, params, shape, image_format):
    reply = images.ours(PLACE[name], MediaAsk(PROMPT, params))
    picture = Image.open(io.BytesIO(reply.media[0].data))
    assert (picture.size, picture.format) == (shape, image_format)
    assert reply.media[0].mime == f"image/{image_format.lower()}"


def test_the_stand_in_draws_equal_pictures_of_equal_seeds_and_prompts_alone(images):
    place = PLACE["gemini-images"]
    drawings = [
        images.ours(place, MediaAsk(prompt, {"seed": seed})).media[0].data
        for prompt, seed in ((PROMPT, 1), (PROMPT, 1), (PROMPT, 2), ("A blue cube.", 1))
    ]
    assert drawings[0] == drawings[1]
    assert len(set(drawings)) == 3


# ---- what goes wrong

#: How the SDK tells that the provider's filter stopped a picture.
_BLOCKED = {
    "openai-images": "BadRequestError",
    "azure-images-dated": "BadRequestError",
    "azure-images-v1": "BadRequestError",
    "openrouter-images": "ForbiddenResponseError",
}


def _kind(images: Images, place: ImagePlace, ask: MediaAsk) -> tuple[str, str | None]:
    """The kind of what went wrong, raised or as the reply's problem, and the words that came."""
    try:
        problem = images.ours(place, ask).problem
    except ProviderError as error:
        return error.kind, error.output
    assert problem is not None
    return problem.kind, problem.output


@pytest.mark.parametrize("place", IMAGE_PLACES, ids=PLACE)
def test_a_blocked_picture_is_one_for_the_sdk_and_content_filter_for_us(images, place):
    images.server.outcome = "moderation"
    call = LEAST[place.name]
    if place.name in _BLOCKED:
        with pytest.raises(Exception, match=r"\w") as caught:
            images.theirs(place, **call.sdk)
        assert type(caught.value).__name__ == _BLOCKED[place.name]
    elif place.wire == "gemini":
        assert images.theirs(place, **call.sdk).candidates[0].finish_reason.value == "IMAGE_SAFETY"
    else:
        assert images.theirs(place, **call.sdk).choices[0].finish_reason == "content_filter"
    assert _kind(images, place, call.ask())[0] == "content_filter"


@pytest.mark.parametrize("place", IMAGE_PLACES, ids=PLACE)
@pytest.mark.parametrize("outcome", ["text", "nothing"])
def test_an_answer_without_a_picture_is_parsed_by_the_sdk_and_no_media_for_us(images, place, outcome):
    images.server.outcome = outcome
    call = LEAST[place.name]
    images.theirs(place, **call.sdk)
    said = WORDS if outcome == "text" and place.wire in ("chat", "gemini") else None
    assert _kind(images, place, call.ask()) == ("no_media", said)


@pytest.mark.parametrize("place", IMAGE_PLACES, ids=PLACE)
def test_bytes_that_are_no_picture_come_through_and_no_base64_is_malformed(images, place):
    ask = MediaAsk(f"{PROMPT} #broken")
    assert images.ours(place, ask).media[0].data == NO_PICTURE
    assert _kind(images, place, MediaAsk(f"{PROMPT} #garbled"))[0] == "malformed"


@pytest.mark.parametrize("name", [*OPENAI, "openrouter-chat-images"])
def test_a_picture_behind_an_address_is_read_from_there(images, name):
    place = PLACE[name]
    drawn = images.ours(place, MediaAsk(f"{PROMPT} #url", {"n": 1}))
    assert Image.open(io.BytesIO(drawn.media[0].data)).format == "PNG"
    assert images.server.received[-1].method == "GET"
    assert "authorization" not in images.server.received[-1].headers
    assert _kind(images, place, MediaAsk(f"{PROMPT} #gone"))[0] == "server_error"


def test_several_pictures_behind_addresses_are_all_read(images):
    reply = images.ours(PLACE["openai-images"], MediaAsk(f"{PROMPT} #url", {"n": 3}))
    assert len({blob.data for blob in reply.media}) == 3
    assert reply.usage == Usage(TOKENS_IN, 3 * TOKENS_OUT)


@pytest.mark.parametrize("place", IMAGE_PLACES, ids=PLACE)
def test_an_error_status_is_of_the_kind_that_it_is_for_text(images, place):
    images.server.outcome = failure(429, "rate_limit_exceeded", retry_after="2")
    with pytest.raises(ProviderError) as caught:
        images.ours(place, LEAST[place.name].ask())
    assert (caught.value.kind, caught.value.retry_after_s) == ("rate_limit", 2.0)


# ---- workflows, which have no SDK

_ROOT = "accounts/fireworks/models"
_WORKFLOWS = {"at-once": f"{_ROOT}/flux-1-schnell-fp8/text_to_image", "ticket": f"{_ROOT}/flux-kontext-pro"}


def _workflow(images: Images, model: str, prompt: str, **params: Any) -> Any:
    spec = ModelSpec("m", "host", model, "workflow", capabilities=Capabilities(mode="image"))
    endpoint = Endpoint("host", base_url=images.server.base_url("fireworks"), env_api_keys=("STUB_KEY",))
    return sent(spec, endpoint, MediaAsk(prompt, params)).reply


@pytest.mark.parametrize("model", _WORKFLOWS.values(), ids=_WORKFLOWS)
def test_a_workflow_gives_its_picture_and_its_seed(images, model):
    images.server.polls = 3
    reply = _workflow(images, model, PROMPT, aspect_ratio="16:9", seed=7)
    assert Image.open(io.BytesIO(reply.media[0].data)).size == (1360, 768)
    assert (reply.seeds, reply.problem) == ((7,), None)
    paths = [request.path for request in images.server.received[-5:]]
    assert paths[-1] == f"/inference/v1/workflows/{model}" + ("/get_result" if "kontext" in model else "")


@pytest.mark.parametrize("model", _WORKFLOWS.values(), ids=_WORKFLOWS)
@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("moderation", "content_filter"),
        ("nothing", "no_media"),
        ("garbled", "malformed"),
        ("gone", "server_error"),
    ],
)
def test_a_workflow_without_a_picture_is_of_the_kind_that_it_is_elsewhere(images, model, outcome, kind):
    images.server.outcome = outcome
    try:
        problem = _workflow(images, model, PROMPT).problem
    except ProviderError as error:
        problem = error
    assert problem.kind == kind


def test_a_workflows_picture_behind_an_address_is_read_from_there(images):
    reply = _workflow(images, _WORKFLOWS["ticket"], f"{PROMPT} #url", format="jpeg")
    assert Image.open(io.BytesIO(reply.media[0].data)).format == "JPEG"
