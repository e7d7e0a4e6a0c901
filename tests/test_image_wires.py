"""The image wires: bodies as they are sent, and what an answer is. All pure."""

from __future__ import annotations

import base64

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ParamError, ProviderError
from llmbench.media import Blob
from llmbench.messages import Usage
from tests.image_replies import (
    AT_ONCE,
    B64,
    BY_TICKET,
    CHAT,
    DATA,
    GEMINI,
    IMAGES,
    PNG,
    REFERENCE,
    SPEC,
    WORKFLOW,
    ask,
    reply,
)
from tests.servers.image_answers import (
    RATINGS,
    SAFE,
    WORDS,
    chat_images_answer,
    gemini_image_answer,
    images_answer,
    inline,
    openrouter_images_answer,
    result,
    workflow_answer,
)

ALL = [IMAGES, GEMINI, CHAT, WORKFLOW]


# ---- bodies


def test_the_images_api_has_a_field_for_every_parameter_but_a_negative_prompt():
    asked = ask(
        n=2,
        size="1024x1024",
        seed=7,
        aspect_ratio="1:1",
        quality="low",
        format="webp",
        background="transparent",
        style="vivid",
    )
    assert IMAGES.body(SPEC, asked) == {
        "model": "m-id",
        "prompt": "a cube",
        "n": 2,
        "size": "1024x1024",
        "seed": 7,
        "aspect_ratio": "1:1",
        "quality": "low",
        "output_format": "webp",
        "background": "transparent",
        "style": "vivid",
    }


def test_a_chat_or_gemini_body_asks_for_pictures_and_their_shape():
    asked = ask("a cube", REFERENCE, size="2K", aspect_ratio="16:9", seed=7, n=1)
    assert CHAT.body(SPEC, asked) == {
        "model": "m-id",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a cube"},
                    {"type": "image_url", "image_url": {"url": DATA}},
                ],
            }
        ],
        "modalities": ["image", "text"],
        "seed": 7,
        "image_config": {"aspect_ratio": "16:9", "image_size": "2K"},
    }
    parts = [{"text": "a cube"}, {"inlineData": {"mimeType": "image/png", "data": B64}}]
    assert GEMINI.body(SPEC, asked) == {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "seed": 7,
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"},
        },
    }


def test_a_workflow_takes_what_it_has_a_field_for():
    assert WORKFLOW.body(AT_ONCE, ask(aspect_ratio="16:9", seed=7, n=1)) == {
        "prompt": "a cube",
        "aspect_ratio": "16:9",
        "seed": 7,
    }
    assert WORKFLOW.body(BY_TICKET, ask("a cube", REFERENCE, format="jpeg")) == {
        "prompt": "a cube",
        "output_format": "jpeg",
        "input_image": DATA,
    }


@pytest.mark.parametrize(
    ("wire", "spec", "params"),
    [
        (IMAGES, SPEC, {"negative_prompt": "blue"}),
        *((wire, SPEC, {"n": 2}) for wire in (GEMINI, CHAT)),
        *((wire, SPEC, {"size": "1024x1024"}) for wire in (GEMINI, CHAT)),
        *((wire, SPEC, {"negative_prompt": "blue"}) for wire in (GEMINI, CHAT)),
        *((wire, SPEC, {"format": "jpeg"}) for wire in (GEMINI, CHAT)),
        *((WORKFLOW, spec, {"n": 2}) for spec in (AT_ONCE, BY_TICKET)),
        *((WORKFLOW, spec, {"size": "1024x1024"}) for spec in (AT_ONCE, BY_TICKET)),
        (WORKFLOW, AT_ONCE, {"format": "jpeg"}),
    ],
)
def test_a_parameter_without_a_place_is_refused_by_its_name(wire, spec, params):
    with pytest.raises(ParamError, match=f"^{next(iter(params))}\\b"):
        wire.body(spec, ask(**params))


def test_the_images_api_takes_reference_pictures_only_where_the_entry_says_so():
    with pytest.raises(ParamError, match="supports_reference_images: true"):
        IMAGES.body(SPEC, ask("a cube", REFERENCE))
    able = ModelSpec("m", "p", "m-id", media={"supports_reference_images": True})
    sent = IMAGES.body(able, ask("a cube", REFERENCE))
    assert sent["input_references"] == [{"type": "image_url", "image_url": {"url": DATA}}]


def test_a_workflow_refuses_more_reference_pictures_than_it_takes():
    for spec, references in ((AT_ONCE, [REFERENCE]), (BY_TICKET, [REFERENCE, REFERENCE])):
        with pytest.raises(ParamError, match=r"^references: "):
            WORKFLOW.body(spec, ask("a cube", *references))


@pytest.mark.parametrize("wire", [GEMINI, CHAT])
def test_a_reference_without_a_mime_type_is_refused(wire):
    with pytest.raises(ParamError, match="MIME"):
        wire.body(SPEC, ask("a cube", Blob(PNG)))


@pytest.mark.parametrize(("wire", "key"), [(IMAGES, "prompt"), (CHAT, "messages"), (GEMINI, "contents")])
def test_extra_body_is_put_in_and_replaces_nothing(wire, key):
    assert wire.body(SPEC, ask(extra={"user": "u1"}))["user"] == "u1"
    with pytest.raises(ParamError, match=f"extra_body.{key}"):
        wire.body(SPEC, ask(extra={key: "other"}))


# ---- paths


@pytest.mark.parametrize(
    ("kind", "base", "version", "path"),
    [
        ("openai", "https://h.test/v1", None, "/images/generations"),
        ("openai_compatible", "https://h.test/v1", None, "/images/generations"),
        ("openrouter", "https://h.test/api/v1", None, "/images"),
        ("azure", "https://h.test", None, "/openai/v1/images/generations"),
        ("azure", "https://h.test/openai/v1", None, "/images/generations"),
        (
            "azure",
            "https://h.test",
            "2025-04-01-preview",
            "/openai/deployments/m-id/images/generations?api-version=2025-04-01-preview",
        ),
    ],
)
def test_the_path_of_the_images_api_is_the_hosts_own(kind, base, version, path):
    assert IMAGES.path(SPEC, Endpoint("p", type=kind, base_url=base, api_version=version)) == path


def test_the_model_id_of_a_workflow_is_its_path():
    assert WORKFLOW.path(AT_ONCE, Endpoint("p")) == f"/workflows/{AT_ONCE.model_id}"


# ---- answers

#: Of each wire: an answer with one picture, one with words alone, one with nothing.
ANSWERS = {
    IMAGES: (images_answer([{"b64_json": B64}], output_format="png"), None, images_answer([])),
    GEMINI: (
        gemini_image_answer({"text": "Here."}, inline(B64)),
        gemini_image_answer({"text": WORDS}),
        gemini_image_answer(finish="NO_IMAGE"),
    ),
    CHAT: (chat_images_answer([DATA]), chat_images_answer([], WORDS), chat_images_answer([])),
    WORKFLOW: (workflow_answer([DATA], seed=7), None, workflow_answer([])),
}


@pytest.mark.parametrize("wire", ALL)
def test_a_picture_is_an_answer_that_needs_no_further_step(wire):
    answer = reply(ANSWERS[wire][0])
    assert wire.next_step(answer, {}) is None
    read = wire.parse(answer, {})
    assert (read.media, read.finish_reason, read.problem) == ((Blob(PNG, "image/png"),), "stop", None)


@pytest.mark.parametrize("wire", [GEMINI, CHAT])
def test_words_without_a_picture_are_no_media_and_are_kept(wire):
    problem = wire.parse(reply(ANSWERS[wire][1]), {}).problem
    assert problem is not None
    assert (problem.kind, problem.output) == ("no_media", WORDS)


@pytest.mark.parametrize("wire", ALL)
def test_an_answer_with_nothing_in_it_is_no_media(wire):
    read = wire.parse(reply(ANSWERS[wire][2]), {})
    assert read.problem is not None
    assert (read.problem.kind, read.media) == ("no_media", ())


@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        (IMAGES, images_answer([{"b64_json": "%%%"}])),
        (IMAGES, images_answer([{"url": "ftp://h.test/a.png"}])),
        (GEMINI, gemini_image_answer(inline("%%%"))),
        (CHAT, chat_images_answer(["data:image/png;base64,%%%"])),
        (CHAT, chat_images_answer(["data:image/png,plain"])),
        (CHAT, chat_images_answer(["file:///etc/passwd"])),
        (WORKFLOW, workflow_answer(["%%%"])),
        (WORKFLOW, result("t", "Ready", "%%%")),
    ],
)
def test_a_picture_that_cannot_be_read_from_its_text_is_malformed(wire, payload):
    with pytest.raises(ProviderError) as caught:
        wire.parse(reply(payload), {})
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("wire", "payload"),
    [
        (IMAGES, images_answer([{"content_filter_results": {"hate": {"filtered": True}}}])),
        (GEMINI, gemini_image_answer(finish="IMAGE_SAFETY")),
        (GEMINI, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        (CHAT, chat_images_answer([], finish="content_filter")),
        (WORKFLOW, workflow_answer([DATA], finish="CONTENT_FILTERED")),
        (WORKFLOW, result("t", "Content Moderated")),
        (WORKFLOW, result("t", "Request Moderated")),
    ],
)
def test_a_picture_that_a_filter_stopped_is_content_filter(wire, payload):
    read = wire.parse(reply(payload), {})
    assert read.problem is not None
    assert (read.problem.kind, read.finish_reason) == ("content_filter", "content_filter")


@pytest.mark.parametrize("wire", ALL)
def test_an_error_status_is_the_providers_error(wire):
    body = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    with pytest.raises(ProviderError) as caught:
        wire.parse(reply(body, 429, retry_after="3"), {})
    assert (caught.value.kind, caught.value.retry_after_s) == ("rate_limit", 3.0)


@pytest.mark.parametrize("wire", ALL)
def test_an_error_inside_a_200_is_the_providers_error(wire):
    with pytest.raises(ProviderError, match="upstream"):
        wire.parse(reply({"error": {"message": "upstream failed", "code": 502}}), {})


@pytest.mark.parametrize("wire", ALL)
def test_an_answer_of_wrong_types_is_no_media_or_malformed(wire):
    odd = {
        "data": [{"b64_json": 5}, "x"],
        "usage": [],
        "candidates": [{"content": {"parts": [{"inlineData": 3}]}}],
        "choices": [{"message": {"images": ["x", {"image_url": []}]}}],
        "base64": [7],
        "result": 3,
        "seed": True,
    }
    read = wire.parse(reply(odd), {})
    assert read.problem is not None
    assert read.problem.kind == "no_media"


def test_tokens_and_cost_are_read_from_either_form_of_usage():
    assert IMAGES.parse(reply(ANSWERS[IMAGES][0]), {}).usage == Usage(12, 272)
    read = IMAGES.parse(reply(openrouter_images_answer([{"b64_json": B64, "media_type": "image/webp"}])), {})
    assert (read.usage, read.reported_usd, read.media[0].mime) == (Usage(12, 272), 0.01, "image/webp")
    assert GEMINI.parse(reply(ANSWERS[GEMINI][0]), {}).usage == Usage(12, 272)
    chat = CHAT.parse(reply(ANSWERS[CHAT][0]), {})
    assert (chat.usage, chat.reported_usd) == (Usage(12, 272), 0.01)


def test_a_revised_prompt_and_a_seed_belong_to_their_picture():
    entries = [{"b64_json": B64, "revised_prompt": "a red cube", "seed": 3}, {"b64_json": B64}]
    read = IMAGES.parse(reply(images_answer(entries)), {})
    assert (read.revised_prompts, read.seeds) == (("a red cube", None), (3, None))
    assert WORKFLOW.parse(reply(ANSWERS[WORKFLOW][0]), {}).seeds == (7,)


def test_ratings_are_kept_under_the_providers_own_names():
    azure = images_answer([{"b64_json": B64, "content_filter_results": SAFE}], azure=True)
    assert IMAGES.parse(reply(azure), {}).safety == {
        "content_filter_results": SAFE,
        "prompt_filter_results": SAFE,
    }
    assert GEMINI.parse(reply(ANSWERS[GEMINI][0]), {}).safety == {"safetyRatings": RATINGS}


def test_drafts_in_geminis_thoughts_are_no_pictures():
    draft = inline(base64.b64encode(b"draft").decode(), thought=True)
    read = GEMINI.parse(reply(gemini_image_answer(draft, inline(B64))), {})
    assert read.media == (Blob(PNG, "image/png"),)
    only = GEMINI.parse(reply(gemini_image_answer(draft)), {}).problem
    assert only is not None
    assert only.kind == "no_media"


def test_base64_counts_in_both_alphabets_and_without_padding():
    data = b"\xfb\xff\xfe\x00"
    for text in ("-__-AA", "+//+AA==", "-__-AA=="):
        assert GEMINI.parse(reply(gemini_image_answer(inline(text))), {}).media[0].data == data


def test_a_refusal_of_a_chat_model_stays_a_refusal():
    payload = chat_images_answer([])
    payload["choices"][0]["message"]["refusal"] = "No."
    problem = CHAT.parse(reply(payload), {}).problem
    assert problem is not None
    assert (problem.kind, problem.output) == ("refusal", "No.")


def test_an_answer_cut_off_at_its_limit_stays_cut_off_though_it_has_a_picture():
    problem = GEMINI.parse(reply(gemini_image_answer(inline(B64), finish="MAX_TOKENS")), {}).problem
    assert problem is not None
    assert problem.kind == "truncated"
