"""Scorers of one kind of text each, which the shipped datasets use: keywords, a caption, a translation."""

from __future__ import annotations

import re

from pydantic import Field

from llmbench.bench.answers import (
    NUMBER,
    normalise,
    numbers_in,
    read_object,
    script_fits,
    stands_in,
    width,
)
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.registry import Params, Schema, Score, alternatives, needs, scorer


class KeywordParams(Params):
    """Parameters of `keywords`: the key that holds the list, and how many entries count."""

    field: str = "keywords"
    max_count: int = Field(default=5, ge=1)
    max_width: int = Field(default=24, ge=1)


@scorer("keywords", KeywordParams)
def keywords(params: KeywordParams, output: str, sample: Sample, schema: Schema) -> Score:
    """Coverage of the required words times honesty of the list.

    `checks.required` is a list of keywords, each a list of accepted spellings; one is covered when an honest
    entry holds a spelling, after `normalise`. Honest entries stand in the sample's text (after
    `normalise`), are at most `max_width` wide (a Japanese character is two wide), do not repeat an earlier
    entry, and lie within the first `max_count`. The score is covered / required x honest / listed.
    """
    required = alternatives(sample, "required")
    value, details = read_object(output, schema)
    listed = value.get(params.field) if value is not None else None
    if not isinstance(listed, list) or not listed:
        return Score(0.0, {**details, "coverage": 0.0, "honest": 0.0})
    source = normalise(sample.input)
    honest: list[str] = []
    for entry in listed[: params.max_count]:
        word = normalise(entry) if isinstance(entry, str) else ""
        if word and width(word) <= params.max_width and stands_in(word, source) and word not in honest:
            honest.append(word)
    covered = sum(any(stands_in(normalise(a), w) for a in group for w in honest) for group in required)
    details |= {"coverage": covered / len(required), "honest": len(honest) / len(listed)}
    return Score(details["coverage"] * details["honest"], details)


@scorer("caption")
def caption(_params: Params, output: str, sample: Sample, _schema: Schema) -> Score:
    """The weighted share of the rules that a caption keeps; 0 when it is empty or holds the whole text again.

    Rules: `length` (at most checks.max_chars characters), `line` (one line), `ending` (no `. 。 ! ? , :` at
    the end), `bare` (no quote or bracket and no label such as `Caption:` at its start), `own` (not just
    the text's beginning, cut off), `script` (Japanese for a Japanese text, none for an English one),
    `honest` (no number that the text lacks), and each group of checks.required: accepted words of which
    one must occur. `length` and the required groups weigh two, the rest one.
    """
    limit = needs(sample.checks.get("max_chars"), int, sample, "checks.max_chars is not a number")
    required = alternatives(sample, "required")
    text = output.strip()
    plain = normalise(text)
    if not plain:
        return Score(0.0, {"empty": 0.0})
    source = normalise(sample.input)
    if source in plain:
        return Score(0.0, {"own": 0.0})
    rules = {
        "length": len(text) <= limit,
        "line": len(text.splitlines()) == 1,
        "ending": re.search(r"[.。．!！?？,、，:：;；…]\Z", text) is None,
        "bare": re.match(r"[\"'“”‘’「『\[{(（【]|[A-Za-z]{2,12}:|[ァ-ヶー一-龠]{2,8}[:：]", text) is None,
        "own": not source.startswith(plain),
        "script": script_fits(text, sample.lang),
        "honest": set(NUMBER.findall(plain)) <= numbers_in(source),
    }
    details = {name: float(kept) for name, kept in rules.items()}
    for index, group in enumerate(required):
        details[f"required:{index}"] = float(any(stands_in(normalise(a), plain) for a in group))
    weights = {name: 2.0 if name.startswith(("required", "length")) else 1.0 for name in details}
    return Score(sum(details[n] * weights[n] for n in details) / sum(weights.values()), details)


class TranslationParams(Params):
    """Parameters of `translation`: `max_ratio` caps the length, in lengths of the reference translation."""

    max_ratio: float = Field(default=2.5, gt=0)


@scorer("translation", TranslationParams)
def translation(params: TranslationParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """The share of the required terms and numbers that a translated line has; 0 when it is not a translation.

    `checks.terms` and `checks.numbers` are lists of groups of accepted spellings, of which one must occur.
    The gates: the reply is in the script of `checks.to` (`en` or `ja`), and at most `max_ratio` times as
    long as the target. A reply that fails a gate scores 0: neither an echo nor a word list pays.
    """
    to = needs(sample.checks.get("to"), str, sample, "checks.to is not a language")
    target = needs(sample.target, str, sample, "the scorer `translation` needs a text as target")
    groups = [*alternatives(sample, "terms"), *alternatives(sample, "numbers")]
    plain = normalise(output)
    details = {
        "script": float(bool(plain) and script_fits(output, to)),
        "length": float(0 < len(plain) <= params.max_ratio * max(len(normalise(target)), 8)),
    }
    for index, group in enumerate(groups):
        details[f"term:{index}"] = float(any(stands_in(normalise(a), plain) for a in group))
    hits = [v for k, v in details.items() if k.startswith("term:")]
    gate = details["script"] * details["length"]
    return Score(gate * (sum(hits) / len(hits) if hits else 1.0), details)
