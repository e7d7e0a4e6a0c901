"""Pictures and speech in telemetry: what came, what each cost and how fast, whatever made the store."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench import FallbackExhausted
from llmbench.analytics.archive import archive_days
from llmbench.analytics.telemetry_store import load_store, open_store, retry_quarantine
from llmbench.analytics.usage import usage_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from tests.image_calls import log, open_images, painter  # noqa: F401 - fixtures are used by their names
from tests.narration_calls import open_speech, speaker  # noqa: F401 - likewise
from tests.test_telemetry_store import a_line, books

IMAGE = {"modality": "image", "images": 2, "width": 1536, "height": 1024, "bytes": 9}
SPEECH = {"modality": "speech", "duration_s": 90.5, "pieces": 3, "characters": 400}
NOTHING = (None,) * 6
#: What a line may say of media, and what becomes of it.
SAID: tuple[tuple[object, tuple[object, ...]], ...] = (
    (IMAGE, ("image", 2, 1536, 1024, None, None)),
    (SPEECH, ("speech", None, None, None, 90.5, 400)),
    ({"modality": "speech", "duration_s": 3, "images": None}, ("speech", None, None, None, 3.0, None)),
    ({"modality": "image"}, ("image", *NOTHING[1:])),
    ({"modality": "image", "images": "two", "width": [8], "height": 4}, ("image", None, None, 4, None, None)),
    ({"modality": "image", "images": -1, "width": 1 << 40}, ("image", *NOTHING[1:])),
    ({"modality": "speech", "duration_s": -2.0, "characters": {}}, ("speech", *NOTHING[1:])),
    ({"modality": "speech", "duration_s": "long"}, ("speech", *NOTHING[1:])),
    ({"modality": "speech", "duration_s": "nan"}, ("speech", *NOTHING[1:])),
    ({"modality": "speech", "duration_s": "inf"}, ("speech", *NOTHING[1:])),
    ({"modality": "hologram", "images": 3}, (None, 3, *NOTHING[2:])),
    ({"modality": 7}, NOTHING),
    ({"modality": ["image"]}, NOTHING),
    ({}, NOTHING),
    (None, NOTHING),
    ("poster.png", NOTHING),
    ([IMAGE], NOTHING),
    (7, NOTHING),
    (True, NOTHING),
)
OF_MEDIA = """
    select media_kind, images, image_width_px, image_height_px, audio_s, spoken_characters
    from stg_calls order by call_id"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.duckdb"


def facts(store: Path | None, archive: Path | None = None) -> list[tuple[object, ...]]:
    with open_warehouse(store=store, archive=archive) as opened:
        return [tuple(row.values()) for row in opened.rows(OF_MEDIA)]


# ---- loading


@pytest.mark.parametrize("beside", [b"", b"torn\n"], ids=["whole", "each-line"])
def test_what_a_line_says_of_media_is_read_alike_in_both_ways_and_never_loses_the_call(
    tmp_path, store, beside
):
    """A log a case: a line of a wrong type sends the whole block of its log to be read line by line."""
    logs = [tmp_path / f"{at:02d}.jsonl" for at in range(len(SAID))]
    for at, (path, (media, _)) in enumerate(zip(logs, SAID, strict=True)):
        path.write_bytes(a_line(10 + at, media=media) + beside)
    load_store(store, logs)
    for (media, want), found in zip(SAID, facts(store), strict=True):
        assert found == want, media
    assert books(store) == (len(SAID), len(SAID) if beside else 0, 0)


def test_the_other_calls_of_a_block_keep_their_facts_beside_a_line_of_a_wrong_type(tmp_path, store):
    path = tmp_path / "usage.jsonl"
    path.write_bytes(a_line(0, media=IMAGE) + a_line(1, media="poster.png") + a_line(2, media=SPEECH))
    load_store(store, [path])
    assert [row[0] for row in facts(store)] == ["image", None, "speech"]


# ---- stores and archives of before


def without_media(store: Path) -> None:
    """Make a store's table what it was before there was the column."""
    with open_store(store) as con:
        con.execute("alter table loaded_calls drop column media")


def test_a_store_of_before_is_read_as_it_is_and_loads_on_without_loss(tmp_path, store):
    path = tmp_path / "usage.jsonl"
    path.write_bytes(a_line(0) + b'{"schema": 2}\n' + a_line(1))
    load_store(store, [path])
    without_media(store)
    assert facts(store) == [NOTHING, NOTHING]
    with open_warehouse(store=store) as opened:
        assert opened.rows("from mart_media") == []
        assert usage_report(opened).to_dict()["by_media"] == {}
    with path.open("ab") as file:
        file.write(a_line(2, media=IMAGE) + a_line(3, media="odd") + a_line(4, media=SPEECH))
    loaded = load_store(store, [path])
    assert (loaded.calls, loaded.quarantined) == (3, 0)
    assert [row[0] for row in facts(store)] == [None, None, "image", None, "speech"]
    assert books(store) == (5, 1, 0)


def test_quarantined_lines_of_a_store_of_before_are_taken_up_with_their_facts(tmp_path, store):
    path = tmp_path / "usage.jsonl"
    path.write_bytes(a_line(0) + a_line(1, media=IMAGE, latency_ms=-1.0))
    load_store(store, [path])
    without_media(store)
    with open_store(store) as con:
        con.execute("update log_quarantine set raw = replace(raw, '-1.0', '1.0')")
        assert retry_quarantine(con) == 1
    assert facts(store) == [NOTHING, ("image", 2, 1536, 1024, None, None)]


def test_an_archive_with_days_of_before_is_read_beside_newer_days_and_alone(tmp_path, store):
    path, folder = tmp_path / "usage.jsonl", tmp_path / "archive"
    path.write_bytes(b"".join(a_line(at) for at in range(3)))
    load_store(store, [path])
    with open_store(store) as con:
        con.execute("alter table loaded_calls drop column media")
        assert archive_days(con, folder, keep_days=1).calls == 2
    assert facts(None, folder) == [NOTHING, NOTHING]
    with path.open("ab") as file:
        file.write(a_line(3, media=IMAGE) + a_line(4, media=SPEECH))
    load_store(store, [path])
    assert [row[0] for row in facts(store, folder)] == [None, None, None, "image", "speech"]
    with open_store(store) as con:
        assert archive_days(con, folder, keep_days=1).calls == 2
    assert [row[0] for row in facts(store, folder)] == [None, None, None, "image", "speech"]
    assert [row[0] for row in facts(None, folder)] == [None, None, None, "image"]


# ---- what it adds up to


def test_real_calls_cost_and_take_in_the_mart_what_their_answers_said(open_images, open_speech, log):
    images = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"max_batch_n": 2}})
    pictures = [images.generate("scene", "a cube"), images.generate("scene", "two cubes", n=2)]
    with contextlib.suppress(FallbackExhausted):
        images.generate("scene", "a cube #moderation")
    voices = open_speech(v={"price": {"per_minute": 0.6}})
    audio = voices.synthesize("narration", "今日は晴れです。明日は雨です。")
    with open_warehouse(telemetry=[log]) as opened:
        painted, spoken = opened.rows("from mart_media order by kind")
    made_ms = sum(each.latency_ms - each.queued_ms for each in pictures)
    assert (painted["kind"], painted["model"], painted["provider"]) == ("image", "a", "p")
    assert (painted["calls"], painted["failures"], painted["content_filter"]) == (3, 1, 1)
    assert (painted["images"], painted["priced_images"]) == (3, 3)
    assert painted["cost_per_image_usd"] == pytest.approx(pictures[1].cost_per_image_usd) == 0.04
    assert painted["ms_per_image"] == pytest.approx(made_ms / 3, rel=1e-3)
    assert (spoken["kind"], spoken["calls"], spoken["failures"]) == ("speech", 1, 0)
    assert spoken["spoken_characters"] == 15
    assert spoken["audio_s"] == pytest.approx(audio.duration_s, abs=5e-4)
    assert spoken["cost_per_minute_usd"] == pytest.approx(0.6, rel=1e-2)
    assert spoken["real_time_factor"] == pytest.approx(audio.real_time_factor, rel=1e-2)


def media_log(path: Path) -> Path:
    image, speech = {"tier": "image", "task": "thumbnail"}, {"tier": "speech", "task": "narration"}
    failed = {"status": "fail", "model": None, "provider": None, "cost_usd": None}
    lines = [
        a_line(0),
        a_line(1, **image, media=IMAGE, cost_usd=0.1, latency_ms=5000.0, queued_ms=1000.0),
        a_line(2, **image, media=IMAGE, cost_usd=None, latency_ms=2000.0),
        a_line(3, **image, **failed, error_kind="no_media"),
        a_line(4, **image, cost_usd=0.7),  # of before the line told: a call, and no picture of it is counted
        a_line(5, **speech, media=SPEECH, cost_usd=0.181, latency_ms=9050.0),
        a_line(6, **speech, **failed, error_kind="timeout"),
        a_line(7, **speech, **failed, fallback_chain=["[red]never"], error_kind="auth"),
        a_line(8, **speech, **failed, fallback_chain=["told"], media={"modality": "speech"}),
    ]
    path.write_bytes(b"".join(lines))
    return path


def test_a_call_that_tells_no_kind_has_that_of_its_models_others_in_the_tier(tmp_path):
    with open_warehouse(telemetry=[media_log(tmp_path / "usage.jsonl")]) as opened:
        rows = opened.rows("""
            select kind, model, sum(calls)::int as calls, sum(failures)::int as failures,
                sum(no_media)::int as no_media, sum(counted)::int as counted, sum(cost_usd) as cost_usd
            from mart_media group by all order by kind, model""")
    assert [tuple(row.values()) for row in rows] == [
        ("image", "or_small", 4, 1, 1, 2, 0.1),
        ("speech", "or_small", 2, 1, 0, 1, 0.181),
        ("speech", "told", 1, 1, 0, 0, None),
    ]


def test_usage_tells_of_pictures_and_speech_by_model(tmp_path):
    path = media_log(tmp_path / "usage.jsonl")
    page = json.loads(CliRunner().invoke(app, ["usage", "--log", str(path), "--json"]).stdout)
    image, speech = page["by_media"]["image"]["or_small"], page["by_media"]["speech"]["or_small"]
    assert (image["calls"], image["failures"], image["images"], image["counted"]) == (4, 1, 4, 2)
    assert (image["cost_usd"], image["cost_per_image_usd"], image["ms_per_image"]) == (0.1, 0.05, 1500.0)
    assert (speech["audio_s"], speech["cost_per_minute_usd"], speech["real_time_factor"]) == (90.5, 0.12, 0.1)
    assert list(page["by_media"]["speech"]) == ["or_small", "told"]
    table = CliRunner().invoke(app, ["usage", "--log", str(path), "--top", "1"]).stdout
    assert "model of pictures" in table
    assert "$0.0500" in table
    assert "100 ms" in table
    assert "and 1 more models" in table


def test_usage_says_nothing_of_media_where_there_was_none(tmp_path):
    path = tmp_path / "usage.jsonl"
    path.write_bytes(a_line(0))
    assert (
        json.loads(CliRunner().invoke(app, ["usage", "--log", str(path), "--json"]).stdout)["by_media"] == {}
    )
    assert "pictures" not in CliRunner().invoke(app, ["usage", "--log", str(path)]).stdout
