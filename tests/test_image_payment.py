"""What was paid for: no picture that came is lost, no cost is too low, and what came otherwise is told."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import shutil
import threading
import time

import pytest
from PIL import Image as Pillow

from llmbench import BudgetExceeded, ParamError, UnsavedError
from llmbench.catalog import BudgetLimits
from llmbench.media import Blob
from llmbench.providers.pictures import converted, open_picture
from tests.conftest import CANARY
from tests.image_calls import by_turn, exhausted, log, open_images, painter  # noqa: F401 - fixtures are used by their names
from tests.media_calls import lines
from tests.servers.chat_server import Received, Step, failure
from tests.servers.image_answers import base64_of, drawn, images_answer, result

PRICED = {"price": {"per_image": 0.04}}
PICTURE = drawn("x", 32, 32)


def entries(*pictures: bytes, **more: object) -> Step:
    """An answer with these pictures."""
    return Step({**images_answer([{"b64_json": base64_of(data)} for data in pictures]), **more})


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (16, 8), **options: object) -> bytes:
    made = io.BytesIO()
    Pillow.new(mode, size).save(made, form, **options)
    return made.getvalue()


def head_of_avif() -> bytes:
    """An AVIF whose boxes are broken: its decoder raises what no other one does."""
    return b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(200)


# ---- answers of strangers


@pytest.mark.parametrize(
    "data",
    [
        head_of_avif(),
        b"DDS \x7c\0\0\0" + b"\xff" * 140,
        b"BLP2" + b"\xff" * 200,
        saved("TIFF"),
        saved("PPM"),
        saved("ICO"),
    ],
)
def test_only_forms_that_models_make_are_decoded_and_all_else_is_malformed(open_images, painter, log, data):
    painter.answer = lambda request: (
        entries(data) if request.json["model"] == "m-a" else painter._by_path(request)
    )
    response = open_images(task={"allow_fallback": True}, a=PRICED, b={}).generate("scene", "a cube")
    assert response.model == "b"
    assert [attempt.error_kind for attempt in response.attempts] == ["malformed", None]
    assert lines(log)[0]["wasted_cost_usd"] == pytest.approx(0.04)


def test_no_picture_starts_a_program(open_images, painter, tmp_path, monkeypatch):
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    painter.outcome = entries(eps)
    assert exhausted(open_images(a={}), "scene", "a cube").kind == "malformed"
    with pytest.raises(ParamError, match="no picture that can be read"):
        open_images(a={}).generate("scene", "a cube", references=eps)
    assert not ran.exists()


def test_a_jpeg_with_more_pictures_behind_the_first_is_a_jpeg():
    more = Pillow.new("RGB", (8, 8), "red")
    image = open_picture(Blob(saved("MPO", save_all=True, append_images=[more])))
    assert (image.mime, image.suffix) == ("image/jpeg", ".jpg")


# ---- pictures that came


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (saved("PNG", size=(20_000, 2)), "webp"),
        (saved("PNG", size=(70_000, 2)), "jpeg"),
    ],
)
def test_a_picture_that_cannot_be_converted_is_kept_as_it_came_and_told(
    open_images, painter, tmp_path, data, form
):
    painter.outcome = entries(data)
    response = open_images(a=PRICED).generate("scene", "a cube", format=form, out=tmp_path / f"a.{form}")
    assert (response.image.data, response.image.mime, response.cost_usd) == (data, "image/png", 0.04)
    assert (tmp_path / f"a.{form}").read_bytes() == data
    (change,) = response.adjustments
    assert (change.param, change.before, change.after) == ("format", form, "png")
    assert change.rule.startswith("not converted: ")


def test_a_picture_is_turned_upright_when_it_is_converted():
    exif = Pillow.Exif()
    exif[0x112] = 6
    image = open_picture(Blob(saved("JPEG", size=(40, 20), exif=exif)))
    upright, refusal = converted(image, "png")
    with Pillow.open(io.BytesIO(upright.data)) as picture:
        assert picture.size == (upright.width, upright.height) == (20, 40)
    assert refusal == ""


@pytest.mark.parametrize("broken", [base64_of(b"no picture"), "%%% not base64 %%%"])
def test_a_broken_picture_among_others_leaves_them_whole_is_told_and_is_paid_for(
    open_images, painter, broken
):
    painter.outcome = Step(
        images_answer([{"b64_json": each} for each in (base64_of(PICTURE), broken, base64_of(PICTURE))])
    )
    response = open_images(a=PRICED).generate("scene", "a cube", n=3)
    assert [image.data for image in response.images] == [PICTURE] * 2
    assert response.cost_usd == pytest.approx(0.12)
    (change,) = response.adjustments
    assert (change.param, change.before, change.after) == ("n", 3, 2)
    assert change.rule.startswith("a picture was left out: ")


def test_more_pictures_than_were_asked_for_are_kept_paid_for_and_told(open_images, painter):
    painter.outcome = entries(PICTURE, PICTURE, PICTURE)
    response = open_images(a=PRICED).generate("scene", "a cube")
    assert (len(response.images), response.cost_usd) == (3, pytest.approx(0.12))
    (change,) = response.adjustments
    assert (change.param, change.before, change.after) == ("n", 1, 3)


# ---- what it cost


def test_pictures_that_nothing_can_decode_cost_what_pictures_cost(open_images, painter, log):
    painter.outcome = entries(b"no picture", b"nor this")
    exhausted(open_images(a=PRICED), "scene", "a cube", n=2)
    (line,) = lines(log)
    assert line["attempts"][0]["cost_usd"] == line["wasted_cost_usd"] == pytest.approx(0.08)


def test_a_request_that_may_be_charged_counts_at_its_worst_beside_one_that_is_free(open_images, painter):
    by_turn(painter, failure(400, "bad"), Step(fault="truncate"))
    client = open_images(a={**PRICED, "capabilities": {"max_batch_n": 1}})
    client.router._budgets.limits = BudgetLimits(run_usd=0.1)
    assert exhausted(client, "scene", "a cube", n=2).kind == "bad_request"
    with pytest.raises(BudgetExceeded, match=r"what is left: \$0\.020000"):
        client.generate("scene", "a cube")


def test_a_request_that_a_gateway_gave_up_counts_at_its_worst_though_its_retry_is_priced_lower(
    open_images, painter, log
):
    by_turn(painter, failure(504))
    answer = {**images_answer([{"b64_json": base64_of(PICTURE)}]), "usage": {"cost": 0.001}}
    painter.outcome = Step(answer)
    client = open_images(a=PRICED)
    client.router._budgets.limits = BudgetLimits(run_usd=0.06)
    assert client.generate("scene", "a cube").cost_usd == 0.001
    assert [attempt["status_code"] for attempt in lines(log)[0]["attempts"][:1]] == [504]
    with pytest.raises(BudgetExceeded, match=r"what is left: \$0\.020000"):
        client.generate("scene", "a cube")


def test_a_file_that_cannot_be_written_loses_no_picture_and_no_cost(open_images, painter, log, tmp_path):
    out = tmp_path / "made" / "x.png"

    def removing(request: Received) -> Step:
        shutil.rmtree(out.parent, ignore_errors=True)
        return painter._by_path(request)

    painter.answer = removing
    with pytest.raises(UnsavedError, match=r"x\.png cannot be written: No such file.*`response`") as caught:
        open_images(a=PRICED, b={}).generate("scene", "a cube", out=out, size="64x64", allow_fallback=True)
    response = caught.value.response
    assert (response.image.data, response.image.path) == (drawn("a cube", 64, 64), None)
    (line,) = lines(log)
    (attempt,) = line["attempts"]
    assert (line["status"], line["error_class"]) == ("fail", "UnsavedError")
    assert (attempt["cost_usd"], attempt["cost_source"]) == (0.04, "registry:per_image")
    assert line["wasted_cost_usd"] == 0.04


def test_a_picture_that_the_filter_stopped_costs_nothing_beside_those_that_came(open_images, painter):
    by_turn(painter, None, failure(400, "moderation_blocked"), None)
    filtered = Step({**images_answer([]), "content_filter_results": {"sexual": {"filtered": True}}})
    client = open_images(a={**PRICED, "capabilities": {"max_batch_n": 1}})
    assert client.generate("scene", "a cube", n=3).cost_usd == pytest.approx(0.08)
    by_turn(painter, None, filtered, None, None)
    response = client.generate("scene", "a cube", n=4)
    assert (len(response.images), response.cost_usd) == (3, pytest.approx(0.12))
    assert response.cost_source == "registry:per_image"


def test_a_budget_says_what_a_call_for_pictures_needs(open_images, painter):
    with pytest.raises(BudgetExceeded, match=r"is not known: give the model a price per_image") as caught:
        open_images(a={}).generate("scene", "a cube", budget_usd=1)
    assert "max_tokens" not in str(caught.value)
    assert painter.received == []


# ---- how many


@pytest.mark.parametrize(("most", "seeds"), [(1, [3, 4, 5, 6, 7]), (2, [3, 5, 7]), (3, [3, 6]), (9, [3])])
def test_no_picture_is_made_and_paid_for_twice_however_many_a_request_makes(
    open_images, painter, most, seeds
):
    client = open_images(a={"capabilities": {"max_batch_n": most}})
    response = client.generate("scene", "a cube", n=5, seed=3, size="64x64")
    alone = [drawn("a cube", 64, 64, seed=seed) for seed in range(3, 8)]
    assert [image.data for image in response.images] == alone
    assert sorted(body["seed"] for body in painter.bodies()) == seeds
    ones = [image.seed for image in response.images if image.seed is not None]
    assert ones == {1: [3, 4, 5, 6, 7], 2: [7]}.get(most, [])


def test_a_number_of_pictures_beyond_all_reason_is_refused(open_images, painter):
    with pytest.raises(ParamError, match="n must be a whole number of 1 to 100: 1000000"):
        open_images(a={}).generate("scene", "a cube", n=1_000_000)
    assert painter.received == []


def test_at_most_eight_requests_of_a_call_are_under_way_at_once(open_images, painter):
    guard, under_way, most = threading.Lock(), 0, 0
    send = painter._send

    async def counting(step, writer):
        nonlocal under_way, most
        with guard:
            under_way += 1
            most = max(most, under_way)
        try:
            await asyncio.sleep(0.02)
            return await send(step, writer)
        finally:
            with guard:
                under_way -= 1

    painter._send = counting
    painter.outcome = Step(images_answer([{"b64_json": base64_of(PICTURE)}]))
    response = open_images(a={"capabilities": {"max_batch_n": 1}}).generate("scene", "a cube", n=30)
    assert (len(response.images), len(painter.received)) == (30, 30)
    assert most <= 8


# ---- tickets


def waiting_for(painter, polls: int, **headers: str):
    """Answer that many questions after a ticket with "pending", then with the picture."""
    asked: list[float] = []
    drawn_answer = painter.answer

    def answer(request: Received) -> Step:
        if not request.path.endswith("/get_result"):
            return drawn_answer(request)
        asked.append(time.monotonic())
        if len(asked) <= polls:
            return Step(result(request.json["id"], "Pending"), headers=headers)
        return drawn_answer(request)

    painter.answer = answer
    return asked


def test_a_ticket_is_not_asked_for_faster_than_its_growing_waits_whatever_the_host_says(open_images, painter):
    asked = waiting_for(painter, 10**9, **{"retry-after": "0"})
    assert exhausted(open_images(), "ticket", "a cube", timeout=1.5).kind == "timeout"
    assert 3 <= len(asked) <= 7
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps[-1] > gaps[0]


def test_a_ticket_has_no_end_but_the_deadline(open_images, painter, monkeypatch):
    monkeypatch.setattr("llmbench.providers.media_send._least_wait_s", lambda _: 0.0)
    asked = waiting_for(painter, 700, **{"retry-after": "0"})
    assert open_images().generate("ticket", "a cube", timeout=60).image.width == 1024
    assert len(asked) > 700


def test_an_answer_that_points_to_endless_addresses_is_malformed(open_images, painter):
    painter.outcome = Step(images_answer([{"url": painter.base_url("openai") + "/x"}] * 201))
    error = exhausted(open_images(a={}), "scene", "a cube")
    assert (error.kind, len(painter.received)) == ("malformed", 1)


# ---- the record


def test_the_record_holds_the_options_that_held_and_how_many_references(open_images, tmp_path):
    client = open_images(
        task={"options": {"size": "64x64", "style": "vivid"}},
        a={"defaults": {"quality": "high"}, "capabilities": {"supports_reference_images": True}},
    )
    client.generate("scene", "a cube", seed=3, references=[PICTURE, PICTURE], out=tmp_path / "a.png")
    record = json.loads((tmp_path / "a.png.json").read_text())
    assert record["options"] == {"size": "64x64", "style": "vivid", "quality": "high", "seed": 3}
    assert record["references"] == 2


def test_a_key_that_the_provider_repeats_is_in_no_rating_no_prompt_and_no_record(
    open_images, painter, log, tmp_path
):
    answer = {"b64_json": base64_of(PICTURE), "revised_prompt": f"a cube {CANARY}"}
    ratings = {"violence": {"detail": [CANARY], CANARY: 1}}
    painter.outcome = Step({**images_answer([answer]), "model": CANARY, "content_filter_results": ratings})
    response = open_images(a={}).generate("scene", f"key {CANARY}", out=tmp_path / "a.png")
    assert response.safety == {"content_filter_results": {"violence": {"detail": ["***"], "***": 1}}}
    assert response.image.revised_prompt == "a cube ***"
    assert CANARY not in (tmp_path / "a.png.json").read_text() + log.read_text() + repr(response)


def test_a_key_that_a_blocked_request_repeats_is_in_no_adjustment(open_images, painter, log):
    blocked = Step({"error": {"message": f"blocked for {CANARY}", "code": "content_filter"}}, 400)
    by_turn(painter, None, blocked)
    client = open_images(a={"capabilities": {"max_batch_n": 1}})
    response = client.generate("scene", "a cube", n=2, size="64x64")
    assert len(response.images) == 1
    assert "blocked for ***" in str(response.adjustments)
    assert CANARY not in repr(response) + log.read_text()
