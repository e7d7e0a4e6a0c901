"""The scorer of form: how long a text is, of which lines, how it begins and ends, what it must not hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final, Literal

from pydantic import Field, ValidationError

from llmbench.bench.answers import script_fits, width
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.registry import Params, Schema, Score, scorer
from llmbench.errors import DatasetError

_SENTENCE_END: Final = re.compile(r"[。．！？!?…]+[」』）)\"”’]*|(?<!\.)\.++[\"”’)]*+(?=\s|\Z)|\n+")
_BULLET: Final = re.compile(r"(?:[-*+•‣・●○◦▪■]|\(?\d{1,3}[.)．）、]|[①-⑳])\s*\S")
_CLOSED: Final = re.compile(r"[。．.!！?？…][」』）)\"”’]*\Z")
_OPEN: Final = re.compile(r"[。．.!！?？、,，:：;；…]\Z")
_SAME_FROM: Final = 8


class FormatParams(Params):
    """Parameters of `format`: each one given is a rule. A sample's `checks` of the same name win.

    `*_chars` are characters (code points in NFC), `*_words` are apart by blanks, `*_lines` and `*_bullets`
    are lines with text, `*_width` is the whole text in columns (a Japanese character has two), `line_width`
    the widest line's, and `sentence_chars` the longest sentence's without its full stop. `script` is `en`,
    `ja`, … or `sample` for the sample's language. `ending` is `sentence` (a full stop or the like) or `open`
    (none). `strict: true` gives 0 unless all rules are kept.
    """

    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=0)
    min_words: int | None = Field(default=None, ge=0)
    max_words: int | None = Field(default=None, ge=0)
    min_lines: int | None = Field(default=None, ge=0)
    max_lines: int | None = Field(default=None, ge=0)
    min_bullets: int | None = Field(default=None, ge=0)
    max_bullets: int | None = Field(default=None, ge=0)
    min_sentences: int | None = Field(default=None, ge=0)
    max_sentences: int | None = Field(default=None, ge=0)
    min_width: int | None = Field(default=None, ge=0)
    max_width: int | None = Field(default=None, ge=0)
    max_line_width: int | None = Field(default=None, ge=0)
    max_sentence_chars: int | None = Field(default=None, ge=0)
    script: str | None = None
    starts_with: list[str] | None = Field(default=None, min_length=1)
    ends_with: list[str] | None = Field(default=None, min_length=1)
    ending: Literal["sentence", "open"] | None = None
    no_markdown: bool = False
    no_urls: bool = False
    no_emoji: bool = False
    no_quotes_around: bool = False
    no_halfwidth_kana: bool = False
    no_fullwidth_ascii: bool = False
    no_repeats: bool = False
    strict: bool = False


@scorer("format", FormatParams)
def format_(params: FormatParams, output: str, sample: Sample, _schema: Schema) -> Score:
    """The share of the given rules of length and form that the reply keeps; 0 when it is empty.

    `min_X` and `max_X` bound chars, words, lines, bullets, sentences, width, line_width and sentence_chars;
    `starts_with` and `ends_with` list texts of which one must be there, as written; `no_repeats` is broken by
    a sentence of 8 characters or more that comes again, `no_quotes_around` by quotes around the whole reply.
    """
    rules = _with_checks(params, sample)
    text = unicodedata.normalize("NFC", output.strip())
    details = {
        **_bounds_kept(rules, text),
        **_shape_kept(rules, text, sample.lang),
        **_signs_kept(rules, text),
    }
    if not details:
        raise DatasetError(f"sample {sample.id}: `format` has no rule; give one, such as `max_chars`")
    values = details.values()
    share = min(values) if rules.strict else sum(values) / len(values)
    return Score(share if text else 0.0, details)


def _with_checks(params: FormatParams, sample: Sample) -> FormatParams:
    own = {name: sample.checks[name] for name in FormatParams.model_fields if name in sample.checks}
    if not own:
        return params
    try:
        return FormatParams.model_validate({**params.model_dump(exclude_unset=True), **own})
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, error["loc"]))
        raise DatasetError(f"sample {sample.id}, checks.{key}: {error['msg']}; correct the dataset") from exc


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _sentences(text: str) -> list[str]:
    """A line's end closes a sentence; a dot does so before a blank only, so that `3.5` stays whole."""
    return [part.strip() for part in _SENTENCE_END.split("\n".join(_lines(text))) if part.strip()]


_MEASURES: Final[Mapping[str, Callable[[str], int]]] = {
    "chars": len,
    "words": lambda text: len(text.split()),
    "lines": lambda text: len(_lines(text)),
    "bullets": lambda text: sum(_BULLET.match(line) is not None for line in _lines(text)),
    "sentences": lambda text: len(_sentences(text)),
    "width": width,
    "line_width": lambda text: max(map(width, _lines(text)), default=0),
    "sentence_chars": lambda text: max(map(len, _sentences(text)), default=0),
}


def _bounds_kept(rules: FormatParams, text: str) -> dict[str, float]:
    kept: dict[str, float] = {}
    for name, measure in _MEASURES.items():
        least, most = getattr(rules, f"min_{name}", None), getattr(rules, f"max_{name}", None)
        if least is not None:
            kept[f"min_{name}"] = float(measure(text) >= least)
        if most is not None:
            kept[f"max_{name}"] = float(measure(text) <= most)
    return kept


def _shape_kept(rules: FormatParams, text: str, lang: str) -> dict[str, float]:
    kept: dict[str, float] = {}
    if rules.script is not None:
        kept["script"] = float(script_fits(text, lang if rules.script == "sample" else rules.script))
    if rules.starts_with is not None:
        kept["starts_with"] = float(text.startswith(tuple(_nfc(rules.starts_with))))
    if rules.ends_with is not None:
        kept["ends_with"] = float(text.endswith(tuple(_nfc(rules.ends_with))))
    if rules.ending is not None:
        fits = _CLOSED.search(text) if rules.ending == "sentence" else not _OPEN.search(text)
        kept["ending"] = float(bool(fits))
    return kept


def _nfc(texts: list[str]) -> list[str]:
    return [unicodedata.normalize("NFC", text) for text in texts]


_MARKDOWN: Final = re.compile(
    r"^[ ]{0,3}(?:#{1,6}[ ]|[-*+][ ]|>|\d{1,3}\.[ ]|\||```|~~~|(?:-{3,}|\*{3,}|_{3,})[ ]*$)"
    r"|\*\*\S|__\S[^_\n]{0,200}__|`[^`\n]{1,200}`|\[[^\]\n]{1,200}\]\(",
    re.MULTILINE,
)
#: What is drawn as an emoji without being asked to, and the sign that asks. `★` and `♪` are text.
#: Source: Unicode 16, emoji-data.txt, property Emoji_Presentation.
_EMOJI: Final = (
    "\ufe0f\u20e3\U0001f000-\U0001faff\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653"
    "\u267f\u2693\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd"
    "\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55"
)
_SIGNS: Final[Mapping[str, re.Pattern[str]]] = {
    "no_markdown": _MARKDOWN,
    "no_urls": re.compile(r"https?://|\bwww\.\w", re.IGNORECASE),
    "no_emoji": re.compile(f"[{_EMOJI}]"),
    "no_quotes_around": re.compile(r"\A(?:\"[^\"]*\"|'[^']*'|“[^”]*”|‘[^‘]*’|「[^」]*」|『[^』]*』)\Z"),
    "no_halfwidth_kana": re.compile("[\uff61-\uff9f]"),
    "no_fullwidth_ascii": re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]"),
}


def _signs_kept(rules: FormatParams, text: str) -> dict[str, float]:
    kept = {
        name: float(pattern.search(text) is None) for name, pattern in _SIGNS.items() if getattr(rules, name)
    }
    if rules.no_repeats:
        long = [sentence for sentence in _sentences(text) if len(sentence) >= _SAME_FROM]
        kept["no_repeats"] = float(len(long) == len(set(long)))
    return kept
