"""Write a dataset's data.jsonl and the figures of its card. Used by every datasets/<name>/build.py."""

import hashlib
import json
import random
from pathlib import Path


def mixed(rows, seed):
    """Shuffle the rows inside each language, then take the languages in turn: any prefix is balanced."""
    queues = {}
    for row in rows:
        queues.setdefault(row["lang"], []).append(row)
    rng = random.Random(seed)
    for lang in sorted(queues):
        rng.shuffle(queues[lang])
    total = {lang: len(queue) for lang, queue in queues.items()}
    order = []
    while any(queues.values()):
        lang = min(
            sorted(lang for lang in queues if queues[lang]), key=lambda x: 1 - len(queues[x]) / total[x]
        )
        order.append(queues[lang].pop())
    return order


def write(folder, prefix, rows, seed):
    """Number the mixed rows, write data.jsonl, and put sha256, samples and clusters into card.yaml.

    A row is a dict of lang, input, target, and optionally checks, tags, and `source`: the name of the text
    that several rows share. Rows without a source are clusters of their own.
    """
    lines = []
    clusters = {}
    for number, row in enumerate(mixed(rows, seed), 1):
        name = f"{prefix}-{number:04d}"
        cluster = clusters.setdefault(row.get("source", name), f"{prefix}-c{len(clusters) + 1:04d}")
        if "source" not in row:
            cluster = clusters[name] = name
        sample = {
            "id": name,
            "lang": row["lang"],
            "cluster": cluster,
            "input": row["input"],
            "target": row["target"],
            "checks": row.get("checks", {}),
            "tags": sorted(row.get("tags", [])),
        }
        lines.append(json.dumps(sample, ensure_ascii=False) + "\n")
    raw = "".join(lines).encode()
    folder = Path(folder)
    (folder / "data.jsonl").write_bytes(raw)
    figures = {
        "sha256": hashlib.sha256(raw).hexdigest(),
        "samples": str(len(lines)),
        "clusters": str(len(set(clusters.values()))),
    }
    card = folder / "card.yaml"
    text = card.read_text("utf-8").splitlines(keepends=True)
    for index, line in enumerate(text):
        key = line.split(":", 1)[0]
        if key in figures:
            text[index] = f"{key}: {figures[key]}\n"
    card.write_bytes("".join(text).encode())
