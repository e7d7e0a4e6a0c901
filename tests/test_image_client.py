"""ImageClient against a provider on loopback that draws the prompt: pictures, models, money."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from llmbench import (
    BudgetExceeded,
    ImageResponse,
    ParamError,
)
from tests.image_calls import ALL, by_turn, exhausted, log, open_images, painter  # noqa: F401 - fixtures are used by their names
from tests.media_calls import lines
from tests.servers.chat_server import Step, failure
from tests.servers.image_answers import base64_of, drawn, images_answer, moderation_blocked

# ---- a picture


@pytest.mark.parametrize("task", ALL)
def test_a_picture_comes_by_every_dialect_with_what_it_is(open_images, log, task):
    response = open_images().generate(task, "a red cube")
    assert isinstance(response, ImageResponse)
    image = response.image
    assert (image.mime, image.width, image.height) == ("image/png", 1024, 1024)
    assert image.data == drawn("a red cube", 1024, 1024)
    assert (response.model, response.tier, response.finish_reason) == (task, f"tier-{task}", "stop")
    assert response.text == "1 picture: image/png 1024x1024"
    (line,) = lines(log)
    assert line["status"] == "success"
    assert line["media"] == {
        "modality": "image",
        "images": 1,
        "width": 1024,
        "height": 1024,
        "bytes": len(image.data),
    }
    assert [attempt["model"] for attempt in line["attempts"]] == [task]
    assert "a red cube" not in json.dumps(line)


@pytest.mark.parametrize(
    ("task", "options", "shape"),
    [
        ("openai", {"size": "512x256"}, (512, 256)),
        ("openrouter", {"aspect_ratio": "1:1", "size": "512x512"}, (512, 512)),
        ("chat", {"size": "1920x1080"}, (2736, 1536)),
        ("gemini", {"aspect_ratio": "16:9"}, (1360, 768)),
        ("workflow", {"size": "1536x1024"}, (1248, 832)),
        ("ticket", {"aspect_ratio": "9:16"}, (768, 1360)),
    ],
)
def test_size_and_ratio_arrive_as_the_dialect_says_them(open_images, task, options, shape):
    response = open_images().generate(task, "a cube", **options)
    assert (response.image.width, response.image.height) == shape


@pytest.mark.parametrize("task", ["openai", "gemini", "ticket"])
def test_agenerate_makes_the_same_inside_a_running_loop(open_images, task):
    client = open_images()

    async def both() -> list[ImageResponse]:
        async with client:
            return await asyncio.gather(*(client.agenerate(task, f"cube {n}") for n in range(3)))

    responses = asyncio.run(both())
    assert [response.image.data for response in responses] == [
        drawn(f"cube {n}", 1024, 1024) for n in range(3)
    ]


def test_generate_works_where_a_loop_runs_already_and_from_many_threads(open_images, log):
    client = open_images()

    async def notebook_cell() -> ImageResponse:
        return client.generate("openai", "a cube", size="64x64")

    assert asyncio.run(notebook_cell()).image.width == 64
    made: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda n=n: made.append(client.generate("openai", f"{n}", size="64x64").image.data)
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made) == sorted(drawn(f"{n}", 64, 64) for n in range(8))
    assert len({line["call_id"] for line in lines(log)}) == 9


def test_the_cost_is_that_of_the_pictures(open_images, log):
    client = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"max_batch_n": 2}})
    response = client.generate("scene", "a cube", n=3, size="64x64")
    assert response.cost_usd == pytest.approx(0.12)
    assert response.cost_source == "registry:per_image"
    assert response.cost_per_image_usd == pytest.approx(0.04)
    (line,) = lines(log)
    assert line["cost_usd"] == pytest.approx(0.12)
    assert response.usage.output_tokens == 3 * 272


def test_what_the_provider_charged_counts_before_any_price(open_images):
    response = open_images().generate("openrouter", "a cube")
    assert (response.cost_usd, response.cost_source) == (0.01, "provider")


def test_ratings_of_the_provider_are_kept(open_images):
    assert "content_filter_results" in open_images().generate("azure", "a cube").safety


# ---- several pictures


def test_more_pictures_than_a_request_makes_come_in_order_with_their_seeds(open_images, painter):
    client = open_images(a={"capabilities": {"max_batch_n": 1}})
    response = client.generate("scene", "a cube", n=3, seed=7, size="64x64")
    assert [image.seed for image in response.images] == [7, 8, 9]
    assert [image.data for image in response.images] == [
        drawn("a cube", 64, 64, seed=7 + n) for n in range(3)
    ]
    assert sorted(body["seed"] for body in painter.bodies()) == [7, 8, 9]
    assert [change.param for change in response.adjustments] == ["n", "seed"]


@pytest.mark.parametrize("task", ["gemini", "chat", "workflow", "ticket"])
def test_a_dialect_that_makes_one_at_a_time_is_asked_for_each(open_images, task):
    response = open_images().generate(task, "a cube", n=2, seed=1)
    assert len(response.images) == 2
    assert response.images[0].data != response.images[1].data


def test_pictures_that_came_are_kept_where_another_request_was_blocked(open_images, painter, log):
    by_turn(painter, None, moderation_blocked())
    client = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"max_batch_n": 1}})
    response = client.generate("scene", "a cube", n=3, size="64x64")
    assert len(response.images) == 2
    fewer = response.adjustments[-1]
    assert (fewer.param, fewer.action, fewer.before, fewer.after) == ("n", "clamped", 3, 2)
    assert "safety system" in str(fewer)
    assert response.cost_usd == pytest.approx(0.08)
    (line,) = lines(log)
    assert (line["status"], line["media"]["images"]) == ("success", 2)
    assert line["adjustments"][-1]["to"] == 2


def test_fewer_pictures_in_one_answer_are_told(open_images, painter):
    picture = base64_of(drawn("a", 32, 32))
    painter.outcome = Step(images_answer([{"b64_json": picture}]))
    response = open_images(a={}).generate("scene", "a cube", n=2)
    assert len(response.images) == 1
    assert response.adjustments[-1].rule == "the provider made no more"


def test_only_the_request_that_met_a_passing_failure_is_sent_again(open_images, painter, log):
    by_turn(painter, None, failure(429, "rate_limit_exceeded", retry_after="0"))
    client = open_images(a={"capabilities": {"max_batch_n": 1}})
    response = client.generate("scene", "a cube", n=3, size="64x64")
    assert len(response.images) == 3
    assert len(painter.bodies()) == 4
    kinds = [attempt.error_kind for attempt in response.attempts]
    assert kinds == ["rate_limit", None]
    assert lines(log)[0]["attempts"][0]["error_kind"] == "rate_limit"


def test_a_request_that_may_have_been_charged_makes_the_cost_unknown(open_images, painter):
    by_turn(painter, None, Step(b"[", headers={"content-type": "application/json"}))
    client = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"max_batch_n": 1}})
    response = client.generate("scene", "a cube", n=2, size="64x64")
    assert len(response.images) == 1
    assert response.cost_usd is None
    assert response.cost_source == "unknown: a request that failed may have been charged"


def test_when_all_requests_were_blocked_the_call_fails_with_that(open_images, painter):
    client = open_images(a={"capabilities": {"max_batch_n": 1}})
    error = exhausted(client, "scene", "a cube #moderation", n=3)
    assert error.kind == "content_filter"
    assert len(painter.bodies()) == 3


# ---- which model


@pytest.mark.parametrize("task", ["scene"])
def test_no_other_model_answers_unless_the_task_or_the_call_allows_it(open_images, painter, task):
    painter.answer = lambda request: (
        failure(500) if request.json["model"] == "m-a" else painter._by_path(request)
    )
    strict = open_images(a={}, b={})
    assert exhausted(strict, task, "a cube").kind == "server_error"
    assert {body["model"] for body in painter.bodies()} == {"m-a"}
    assert strict.generate(task, "a cube", allow_fallback=True).model == "b"
    relaxed = open_images(task={"allow_fallback": True}, a={}, b={})
    response = relaxed.generate(task, "a cube")
    assert (response.model, [attempt.model for attempt in response.attempts]) == ("b", ["a", "a", "b"])
    assert exhausted(relaxed, task, "a cube", allow_fallback=False).kind == "server_error"


def test_a_blocked_prompt_is_not_carried_to_another_model(open_images, painter):
    error = exhausted(open_images(a={}, b={}), "scene", "a cube #moderation", allow_fallback=True)
    assert (error.kind, len(painter.bodies())) == ("content_filter", 1)


def test_a_prompt_over_the_limit_is_refused_and_not_cut(open_images, painter, log):
    client = open_images(a={"capabilities": {"max_prompt_chars": 10}}, b={})
    with pytest.raises(ParamError, match=r"has 11 characters, a takes 10 \(max_prompt_chars\)"):
        client.generate("scene", "12345678901")
    assert painter.received == []
    (line,) = lines(log)
    assert line["status"] == "fail"
    assert client.generate("scene", "1234567890").model == "a"
    assert client.generate("scene", "12345678901", allow_fallback=True).model == "b"
    assert painter.bodies()[-1]["prompt"] == "12345678901"


def test_strict_refuses_what_would_be_changed(open_images, painter):
    client = open_images(a={"capabilities": {"supports_seed": False}})
    with pytest.raises(ParamError, match=r"strict: a would not take the parameters as they are.*seed"):
        client.generate("scene", "a cube", seed=1, strict=True)
    assert painter.received == []
    assert client.generate("scene", "a cube", seed=1).adjustments[0].param == "seed"
    assert client.generate("scene", "a cube", size="64x64", strict=True).adjustments == ()


def test_a_budget_counts_the_price_of_every_picture(open_images, painter):
    client = open_images(a={"price": {"per_image": 0.04}}, b={})
    with pytest.raises(
        BudgetExceeded, match=r"worst case \$0\.120000 is more than what is left: \$0\.100000"
    ):
        client.generate("scene", "a cube", n=3, budget_usd=0.1)
    assert painter.received == []
    assert client.generate("scene", "a cube", n=2, budget_usd=0.1).cost_usd == pytest.approx(0.08)
    with pytest.raises(BudgetExceeded):
        client.generate("scene", "a cube", models="b", budget_usd=1.0)  # nobody knows what b costs


def test_a_price_by_processor_time_has_a_worst_case(open_images):
    client = open_images(a={"price": {"per_core_hour": 0.36}})
    route = client.explain("scene", timeout=100)
    assert route.worst_case_usd == pytest.approx(100 * 2 / 3600 * 0.36)


def test_explain_names_the_bodies_and_the_worst_case_and_sends_nothing(open_images, painter):
    client = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"max_batch_n": 2}})
    route = client.explain("scene", "a cube", n=3, seed=5)
    assert route.bodies["a"] == {"model": "m-a", "prompt": "a cube", "n": 2, "seed": 5}
    assert route.worst_case_usd == pytest.approx(0.12)
    assert [change.param for change in route.adjustments["a"]] == ["n", "seed"]
    assert painter.received == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"extra_body": {"prompt": "x"}}, "extra_body must not set prompt: the router does"),
        ({"extra_body": {"model": "x", "input": 1}}, "must not set model, input"),
        ({"references": ["/nowhere/x.png"]}, "/nowhere/x.png cannot be read"),
        ({"references": [b"no picture"]}, "the bytes are no picture that can be read; give PNG"),
        ({"references": [5]}, "give the bytes of a picture or its path, not int"),
        ({"sice": "1x1"}, "did you mean 'size'?"),
    ],
)
def test_a_wrong_argument_is_a_param_error_before_anything_is_sent(
    open_images, painter, log, arguments, said
):
    with pytest.raises(ParamError) as caught:
        open_images(a={}).generate("scene", "a cube", **arguments)
    assert said in str(caught.value)
    assert painter.received == []
    assert [line["status"] for line in lines(log)] == ["fail"]


@pytest.mark.parametrize("prompt", [5, None, b"x", ["a cube"]])
def test_a_prompt_that_is_no_text_is_a_param_error(open_images, prompt):
    with pytest.raises(ParamError, match="give a text, not"):
        open_images(a={}).generate("scene", prompt)


def test_reference_pictures_go_to_models_that_take_them(open_images, painter, tmp_path):
    data = drawn("x", 32, 32)
    file = tmp_path / "x.png"
    file.write_bytes(data)
    client = open_images(a={"wire": "chat"}, b={"capabilities": {"supports_reference_images": False}})
    for given in (data, str(file), [data, file]):
        client.generate("scene", "like this", references=given)
    counts = [len(body["messages"][0]["content"]) - 1 for body in painter.bodies()]
    assert counts == [1, 1, 2]
    with pytest.raises(ParamError, match="b takes no reference pictures"):
        client.generate("scene", "like this", references=data, models="b")
