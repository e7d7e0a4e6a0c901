"""Scorers that look for texts: the whole reply, what stands after a mark, words, a pattern."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field, field_validator

from llmbench.bench.answers import Form, in_form, normalise, stands_in, tokens
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.linear_regex import compile_linear
from llmbench.bench.scorers.registry import (
    Params,
    Schema,
    Score,
    alternatives,
    needs,
    scorer,
    target_text,
    texts,
)
from llmbench.errors import DatasetError


class ExactParams(Params):
    """Parameters of `exact`: compare `raw`, `stripped` of blanks at the ends, or `normalised`."""

    form: Form = "normalised"


@scorer("exact", ExactParams)
def exact(params: ExactParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when the whole reply is the target or one of `checks.accepted`, else 0.

    `normalised` takes texts for the same that a reader does: width, case, punctuation and blanks beside
    Japanese characters do not count (`llmbench.bench.answers.normalise`). A reply without a letter or digit
    is then empty and scores 0.
    """
    got = in_form(output, params.form)
    accepted = {in_form(text, params.form) for text in references(sample, "exact")}
    hit = float(bool(got.strip()) and got in accepted)
    return Score(hit, {"match": hit})


def references(sample: Sample, name: str) -> list[str]:
    """The texts that are right answers: the target, then `checks.accepted`.

    Raises:
        DatasetError: the target is not a text, or `checks.accepted` is not a list of texts.
    """
    target: str = needs(sample.target, str, sample, f"the scorer `{name}` needs a text as target")
    return [target, *texts(sample, "accepted")]


class AnswerParams(Params):
    """Parameters of `answer`: what stands before the answer, and how much behind it is the answer."""

    markers: list[str] = Field(default_factory=lambda: ["answer:", "答え:", "回答:"])
    take: Literal["line", "word"] = "line"


@scorer("answer", AnswerParams)
def answer(params: AnswerParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when what stands behind the last marker is the target or one of `checks.accepted`, else 0.

    For models that reason first and end in `Answer: B`. The answer is the rest of the marker's line, or the
    first word of it (`take: word`; a kana or kanji is a word); a reply without a marker is the answer as a
    whole. Markers are found whatever their width and case; answers are compared after `normalise`.
    """
    target = needs(sample.target, (str, int, float), sample, "`answer` needs a text or a number as target")
    accepted = [target if isinstance(target, str) else target_text(sample), *texts(sample, "accepted")]
    got = _taken(_behind(output, params.markers), params.take)
    hit = float(bool(got) and got in {_taken(text, params.take) for text in accepted})
    return Score(hit, {"answer": hit})


def _behind(output: str, markers: Sequence[str]) -> str:
    """The rest of the line behind the marker that comes last; the whole text when there is none."""
    text = _folded(output)
    ends = [text.rfind(mark) + len(mark) for mark in map(_folded, markers) if mark and mark in text]
    return text[max(ends) :].lstrip(" \t*_").partition("\n")[0] if ends else text


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _taken(text: str, take: Literal["line", "word"]) -> str:
    return normalise(text) if take == "line" else next(iter(tokens(text)), "")


class ContainsParams(Params):
    """Parameters of `contains`.

    `required` are groups of accepted spellings for all samples; `mode` asks for all groups or any of them;
    `whole_words: false` also finds a Latin word inside another one.
    """

    required: list[list[str]] = Field(default_factory=list)
    mode: Literal["all", "any"] = "all"
    whole_words: bool = True


@scorer("contains", ContainsParams)
def contains(params: ContainsParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when all groups (or any, by `mode`) of required words occur in the reply, else 0.

    Groups are those of the parameter and of `checks.required`; without either, the target and
    `checks.accepted` are the one group. A group occurs when one of its spellings does, after `normalise`.
    """
    details = _covered(_groups(params.required, sample, "contains"), output, whole_words=params.whole_words)
    return Score(max(details.values()) if params.mode == "any" else min(details.values()), details)


class CoverageParams(Params):
    """Parameters of `coverage`: `required` and `whole_words` as in `contains`."""

    required: list[list[str]] = Field(default_factory=list)
    whole_words: bool = True


@scorer("coverage", CoverageParams)
def coverage(params: CoverageParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """The share of the groups of required words that occur in the reply; groups as in `contains`.

    A reply that holds every word of the language covers all: put it into `combine` with a length limit.
    """
    details = _covered(_groups(params.required, sample, "coverage"), output, whole_words=params.whole_words)
    return Score(sum(details.values()) / len(details), details)


def _groups(common: Sequence[Sequence[str]], sample: Sample, name: str) -> list[Sequence[str]]:
    own = alternatives(sample, "required") if "required" in sample.checks else []
    groups = [*common, *own]
    if groups and all(groups):
        return groups
    if groups:
        raise DatasetError(
            f"sample {sample.id}: `{name}` has an empty group; give it a spelling or remove it"
        )
    return [references(sample, name)]


def _covered(groups: Sequence[Sequence[str]], output: str, *, whole_words: bool) -> dict[str, float]:
    plain = normalise(output)
    return {
        f"required:{index}": float(any(_occurs(word, plain, whole_words=whole_words) for word in group))
        for index, group in enumerate(groups)
    }


def _occurs(word: str, plain: str, *, whole_words: bool) -> bool:
    wanted = normalise(word)
    if not wanted:
        raise DatasetError(f"`{word}` has no letter or digit to look for; use the scorer `regex` for signs")
    return stands_in(wanted, plain) if whole_words else wanted in plain


class ExcludesParams(Params):
    """Parameters of `excludes`: words that no reply may hold; `whole_words` as in `contains`."""

    forbidden: list[str] = Field(default_factory=list)
    whole_words: bool = True


@scorer("excludes", ExcludesParams)
def excludes(params: ExcludesParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when no forbidden word occurs in the reply, else 0; an empty reply scores 0.

    The words are those of the parameter and of `checks.forbidden`, compared after `normalise`.
    """
    forbidden = [*params.forbidden, *texts(sample, "forbidden")]
    if not forbidden:
        raise DatasetError(
            f"sample {sample.id}: `excludes` has no word; fill checks.forbidden or the parameter `forbidden`"
        )
    plain = normalise(output)
    details = {
        f"forbidden:{index}": float(not _occurs(word, plain, whole_words=params.whole_words))
        for index, word in enumerate(forbidden)
    }
    return Score(min(details.values()) if plain else 0.0, details)


class RegexParams(Params):
    """Parameters of `regex`.

    `pattern` in the syntax of Python's `re`, without look-around and back-references; `mode` asks that it is
    found, that it matches the `whole` reply, or that it is `absent`; the rest are the flags of `re`.
    """

    pattern: str | None = None
    mode: Literal["found", "whole", "absent"] = "found"
    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False

    @field_validator("pattern")
    @classmethod
    def _is_linear(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compile_linear(pattern)
        return pattern


_FLAGS: Final = {"ignore_case": re.IGNORECASE, "multiline": re.MULTILINE, "dot_all": re.DOTALL}


@scorer("regex", RegexParams)
def regex(params: RegexParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 when the reply has (or, by `mode`, has not) a pattern, else 0; an empty reply scores 0.

    Blanks at the reply's ends do not count. The pattern is `checks.pattern`, else the parameter. The time is
    proportional to the reply's length whatever the pattern: look-around and back-references, which prevent
    that, are refused.
    """
    pattern = sample.checks.get("pattern", params.pattern)
    if not isinstance(pattern, str):
        raise DatasetError(
            f"sample {sample.id}: `regex` has no pattern; fill checks.pattern or the parameter"
        )
    flags = sum(flag for name, flag in _FLAGS.items() if getattr(params, name))
    try:
        compiled = compile_linear(pattern, flags, whole=params.mode == "whole")
    except ValueError as error:
        raise DatasetError(f"sample {sample.id}, checks.pattern: {error}") from error
    text = output.strip()
    is_kept = bool(text) and compiled.found_in(text) != (params.mode == "absent")
    return Score(float(is_kept), {"pattern": float(is_kept)})
