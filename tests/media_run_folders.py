"""Run folders of pictures and narrations: a text run's folder whose answers become small real media files."""

from __future__ import annotations

import array
import base64
import hashlib
import io
import json
import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from llmbench.audio import Sound, wav_bytes
from tests.run_folders import RunFolder, write_run_folder

RATE_HZ = 16_000


def write_media_run(root: Path, modality: str, *, samples: int = 10, plant: Sequence[str] = ()) -> RunFolder:
    """A run folder of `modality` (image or speech) with every answer's file in its `media`; two tasks."""
    folder = write_run_folder(root, samples=samples, plant=plant)
    _drop_task(folder, 1)
    media = folder.run_dir / "media"
    media.mkdir()
    for number, row in enumerate(folder.rows):
        if row["status"] == "ok":
            facts, details = (_picture if modality == "image" else _narration)(media, row, number)
            row |= {"output": json.dumps(facts, ensure_ascii=False), "score_details": details}
    _change(folder, "plan.json", lambda plan: plan.update(modality=modality))
    write_rows(folder)
    return folder


def write_rows(folder: RunFolder) -> None:
    """Write the rows again, as the file that the recommendation was made from."""
    results = folder.run_dir / "results.jsonl"
    results.write_text("".join(json.dumps(row) + "\n" for row in folder.rows), encoding="utf-8")
    digest = hashlib.sha256(results.read_bytes()).hexdigest()
    _change(folder, "recommendation.json", lambda decided: decided.update(evidence_sha256=digest))


def _drop_task(folder: RunFolder, place: int) -> None:
    name = list(dict.fromkeys(row["task"] for row in folder.rows))[place]
    folder.rows[:] = [row for row in folder.rows if row["task"] != name]
    _change(folder, "plan.json", lambda plan: plan["tasks"].pop(name))
    _change(folder, "recommendation.json", lambda decided: decided["tasks"].pop(place))


def _change(folder: RunFolder, name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder.run_dir / name
    value = json.loads(path.read_text(encoding="utf-8"))
    edit(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def keep(media: Path, data: bytes, suffix: str) -> str:
    """Put bytes into a media folder under the name of their hash; the name."""
    name = hashlib.sha256(data).hexdigest() + suffix
    (media / name).write_bytes(data)
    return name


def answer(row: dict[str, Any]) -> dict[str, Any]:
    """The media answer of a row."""
    return dict(json.loads(row["output"]))


def change_answer(row: dict[str, Any], **facts: Any) -> None:
    """Set facts of a row's media answer."""
    row["output"] = json.dumps({**answer(row), **facts})


@cache
def picture_bytes(colour: str, text: str = "", size: tuple[int, int] = (480, 270)) -> bytes:
    """A PNG with a shape and a text on a ground of one colour."""
    picture = Image.new("RGB", size, colour)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4), fill="white")
    draw.text((10, 10), text, fill="black")
    made = io.BytesIO()
    picture.save(made, "PNG")
    return made.getvalue()


@cache
def tone(seconds: float, pitch_hz: float) -> bytes:
    """A WAV file of one tone."""
    count = int(seconds * RATE_HZ)
    turn = 2 * math.pi * pitch_hz / RATE_HZ
    wave = array.array("h", (int(9000 * math.sin(turn * at)) for at in range(count)))
    return wav_bytes(Sound(wave.tobytes(), RATE_HZ))


def opened(uri: str, mime: str) -> bytes:
    """The bytes of a data URI of one MIME type."""
    head, _, body = uri.partition(",")
    assert head == f"data:{mime};base64"
    return base64.b64decode(body, validate=True)


def _picture(media: Path, row: dict[str, Any], number: int) -> tuple[dict[str, Any], dict[str, float]]:
    draw = random.Random(number)
    colour = f"hsl({number % 24 * 37 % 360}, 60%, 60%)"
    data = picture_bytes(colour, row["sample_id"][:3])
    facts = {
        "media": "image", "file": keep(media, data, ".png"), "mime": "image/png", "bytes": len(data),
        "width": 480, "height": 270, "images": 1, "seed": number,
        "revised_prompt": f"a scene: {row['prompt']}",
        "contrast": round(0.2 + 0.5 * draw.random(), 5),
    }  # fmt: skip
    return facts, {"valid": 1.0, "shape": row["score"], "contrast": 1.0}


def _narration(media: Path, row: dict[str, Any], number: int) -> tuple[dict[str, Any], dict[str, float]]:
    seconds = 0.5 + number % 4 / 10
    data = tone(seconds, 200 + 10 * (number % 12))
    facts = {
        "media": "speech", "file": keep(media, data, ".wav"), "mime": "audio/wav", "bytes": len(data),
        "duration_s": seconds, "rate_hz": RATE_HZ, "characters": len(row["prompt"]), "pieces": 1,
        "real_time_factor": round(0.1 + 0.01 * (number % 20), 4), "peak": 0.28, "clipped": 0.0,
        "silence": 0.0625,
    }  # fmt: skip
    return facts, {"rate": 1.0, "pace": 1.0, "heard": row["score"]}
