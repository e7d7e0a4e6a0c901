"""Fuzzing a parser: sound inputs, changed at random, and only errors of llmbench's own tree may come out.

In the suite each parser meets a few hundred inputs, the same on every run. With LLMBENCH_FUZZ_SECONDS=600 (or
`make fuzz`) it meets new ones for so many seconds, and says how many they were (`pytest -s` shows it).
A failure names the number that its input was made from.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from llmbench.config.yaml_source import UNREADABLE
from llmbench.errors import LLMBenchError
from tests.hostile_strings import HOSTILE

SECONDS = float(os.environ.get("LLMBENCH_FUZZ_SECONDS", "0"))
_TEXTS = [text for text in HOSTILE if len(text) < 2_000]
_ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "0",
    "1e999",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
    [1, "a", None],
    "data:image/png;base64,AAAA",
    "2026-11-29T00:00:00Z",
    "2026-13-45",
    "9999-12-31T23:59:59.999999999Z",
    253402300800,
]
_SPLICES = [
    *"{}[]():,\"'\\\n\r\t -#&*!|>%@`=+<~",
    "\x00",
    "\ufeff",
    "\ud800",
    "\u2028",
    "NaN",
    "1e999",
    "9" * 5000,
    "[" * 2000,
    '{"a":' * 500,
    "- " * 400,
    "&a ",
    "*a",
    "!!bool x",
    "!!int ''",
    "!!timestamp x",
    "!!binary '*'",
    "!!set {a}",
    "!!omap [a]",
    "? [a]\n: b\n",
    "<<: ",
    "data: ",
    "\n\n",
    "[DONE]",
    "\\ud800",
    "\\u0000",
    "---\n",
    "...\n",
]


def changed(value: Any, draw: random.Random, times: int | None = None) -> Any:
    """A copy of JSON-like data, some places in it replaced, left out, doubled, nested or renamed."""
    for _ in range(draw.choice((1, 1, 2, 3, 6)) if times is None else times):
        value = _changed_once(value, draw)
    return value


def _changed_once(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        return _changed_mapping(value, key, draw)
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        if draw.random() < 0.7:
            return [*value[:at], _changed_once(value[at], draw), *value[at + 1 :]]
        return [*value[:at], *([value[at]] * draw.choice((0, 2, 30))), *value[at + 1 :]]
    return _replacement(value, draw)


def _changed_mapping(value: dict[Any, Any], key: Any, draw: random.Random) -> dict[Any, Any]:
    dice = draw.random()
    if dice < 0.75:
        return {**value, key: _changed_once(value[key], draw)}
    rest = {name: item for name, item in value.items() if name != key}
    if dice < 0.85:
        return rest
    if dice < 0.93:
        return {
            **rest,
            draw.choice((f"{key}s", str(key).upper(), "x-own", *draw.sample(_TEXTS, 3))): value[key],
        }
    return {**value, draw.choice(("extra", "x-own", *draw.sample(_TEXTS, 3))): _replacement(value[key], draw)}


def _replacement(value: Any, draw: random.Random) -> Any:
    dice = draw.random()
    if dice < 0.35:
        return draw.choice(_ODD)
    if dice < 0.6:
        return draw.choice(_TEXTS)
    if dice < 0.7:
        return [value]
    if dice < 0.78:
        return {"a": value}
    if dice < 0.82:
        for _ in range(draw.choice((3, 50, 700))):
            value = [value]
        return value
    if isinstance(value, str):
        return _spliced(value, draw)
    if isinstance(value, int | float):
        return draw.choice(
            (-value, value * 2, 1 - value, f" {value}"[:900], f"{value}"[:900], f"{value}%"[:900])
        )
    return draw.choice(_TEXTS)


def _spliced(text: str, draw: random.Random) -> str:
    at = draw.randint(0, len(text))
    to = min(len(text), at + draw.choice((0, 0, 1, 1, 5, 40)))
    return (
        text[:at]
        + draw.choice((*_SPLICES, draw.choice(_TEXTS), text[:at], chr(draw.randrange(0x2FF))))
        + text[to:]
    )


def spliced(text: str, draw: random.Random) -> str:
    """A text with a few pieces put in, left out or repeated."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        text = _spliced(text, draw)
    return text


def as_bytes(text: str, draw: random.Random) -> bytes:
    """A text as bytes, at times with some that are no UTF-8."""
    data = text[:1_000_000].encode("utf-8", draw.choice(("surrogatepass", "replace")))
    if draw.random() < 0.1:
        at = draw.randint(0, len(data))
        data = (
            data[:at]
            + draw.choice((b"\xff", b"\xc0\x80", b"\x00", b"\xff\xfe", b"\x1f\x8b", b"\xef\xbb\xbf"))
            + data[at:]
        )
    return data if draw.random() > 0.05 else data[: draw.randint(0, len(data))]


def json_text(value: Any, draw: random.Random) -> str:
    """Data as JSON: changed as data, as text, or both."""
    dice = draw.random()
    try:
        text = json.dumps(changed(value, draw) if dice < 0.8 else value, ensure_ascii=draw.random() < 0.5)
    except (RecursionError, ValueError):
        text = json.dumps(value)
    return text if dice < 0.6 else spliced(text, draw)


def yaml_text(text: str, draw: random.Random) -> str:
    """A YAML file: changed as data, as text, or both."""
    dice = draw.random()
    if dice < 0.7:
        try:
            text = yaml.safe_dump(changed(yaml.safe_load(text), draw), sort_keys=False, allow_unicode=True)
        except (RecursionError, yaml.YAMLError, *UNREADABLE):
            pass
    return text if dice < 0.5 else spliced(text, draw)


def fuzz(act: Callable[[random.Random], object], *, examples: int = 150) -> None:
    """Give `act` random numbers again and again; it makes an input of them and reads it.

    Fails where anything but an LLMBenchError comes out, or where one input, its making included, takes ten
    seconds of CPU.
    """
    if SECONDS:
        _for_seconds(act)
        return

    # A smaller number makes no smaller input: there is nothing to shrink.
    @settings(max_examples=examples, phases=[Phase.generate], report_multiple_bugs=False)
    @given(st.integers(0, 2**32))
    def some(seed: int) -> None:
        _try(act, seed)

    some()


def _for_seconds(act: Callable[[random.Random], object]) -> None:
    begun, seed, slowest = time.monotonic(), random.SystemRandom().randrange(2**31) << 20, (0.0, 0)
    first = seed
    while time.monotonic() - begun < SECONDS:
        started = time.monotonic()
        _try(act, seed)
        slowest = max(slowest, (time.monotonic() - started, seed))
        seed += 1
    print(f"\nfuzz: {seed - first} inputs in {SECONDS:.0f} s; slowest {slowest[0]:.2f} s (seed {slowest[1]})")


def _try(act: Callable[[random.Random], object], seed: int) -> None:
    started = time.process_time()
    try:
        act(random.Random(seed))
    except LLMBenchError as error:
        if not str(error).strip():
            pytest.fail(f"seed {seed}: an error without words")
    except BaseException as error:
        error.add_note(f"the input is that of random.Random({seed})")
        raise
    assert time.process_time() - started < 10, f"seed {seed} took too long"


def one_of(samples: Sequence[Any], draw: random.Random) -> Any:
    """One sample, the same for the same numbers."""
    return samples[draw.randrange(len(samples))]


#: What a fuzz run may take: as long as it was asked to, and a minute to end.
patient = pytest.mark.timeout(max(300, SECONDS + 60))
