"""Names that read like another model than the one that is asked: keys, families, codes, labels of slots.

A name is read as a family (gpt, claude), a version (5, 4o, 3.1), a size (70b) and variants (mini, opus).
Dates, hosts and release words say nothing, and neither does a name without any of them, such as `main`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmbench.migration.models import asked_id
from llmbench.migration.values import Hidden, section

_FAMILIES: Final = frozenset(
    {
        *("gpt", "o", "claude", "gemini", "gemma", "deepseek", "llama", "qwen", "qwq", "mistral", "mixtral"),
        *("ministral", "magistral", "codestral", "kimi", "grok", "glm", "phi", "nova", "command", "minimax"),
        *("imagen", "flux", "veo", "dall", "whisper", "ernie", "doubao", "hermes", "smol", "nemotron"),
        *("granite", "r", "k"),
    }
)
#: Older or shorter spellings of families.
_SAME: Final[Mapping[str, str]] = {"chatgpt": "gpt", "gem": "gemini", "ds": "deepseek"}
#: Variants that name a model even without its family.
_STRONG: Final = frozenset({"opus", "sonnet", "haiku", "mini", "nano", "flash"})
_VARIANTS: Final = _STRONG | {
    *(
        "micro",
        "lite",
        "pro",
        "max",
        "turbo",
        "small",
        "medium",
        "large",
        "chat",
        "thinking",
        "fast",
        "codex",
    ),
    *("image", "coder", "vision", "scout", "maverick", "distill", "oss", "speciale", "reasoning"),
}
#: Variants that a full name leaves out at times without naming another model.
_OFTEN_LEFT_OUT: Final = frozenset({"image", "chat", "distill", "oss", "vision", "medium", "reasoning"})
_NOISE: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}|preview-\d{2}-\d{2,4}|\d{2}-20\d{2}|[-@_]?v\d+:\d+$|:\w+$|(?<![\d.])0\d+|\d{4,}"
)
#: A letter, a mark and a number, such as k-1: an operator's code. Models are written k2 or o3.
_CODE: Final = re.compile(r"[a-z][-_ ]\d{1,2}")
_WORD: Final = re.compile(r"\d+x\d+b|\d+(?:b|k|m|e)(?![a-z])|\d+o(?![a-z])|[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class _Read:
    """What a name says of a model. `version` has no separators: 3.1, 3_1 and 31 are the same."""

    families: frozenset[str]
    version: str
    sizes: frozenset[str]
    variants: frozenset[str]


def hidden_names(files: Mapping[str, Any]) -> list[Hidden]:
    """Every such name of an older folder's files, in the present layout."""
    router, registry = section(files.get("llm_router.yaml")), section(files.get("llm_model_registry.yaml"))
    models = {**section(router.get("models")), **section(registry.get("models"))}
    codes = section(section(files.get("llm_model_codes.yaml")).get("codes"))
    found = [*_of_models(models), *_of_codes(codes, models)]
    found += _of_slots(section(section(files.get("llm_model_slots.yaml")).get("slots")), models, codes)
    for kind in ("image", "speech"):
        media = section(section(files.get(f"{kind}_models.yaml")).get("models"))
        found += [each for each in _of_models(media) if _read(each.name).families]
        short = section(section(files.get(f"{kind}_model_slots.yaml")).get("slots"))
        found += [each for each in _of_codes(short, media) if _read(each.name).families]
    return list(dict.fromkeys(found))


def is_other(name: str, asked: str, *, is_full: bool = True) -> bool:
    """Whether a name reads like another model than the id that is asked.

    Args:
        name: a key, family or label.
        asked: the id or deployment that the provider is asked for.
        is_full: the name names the model, so that a variant which it leaves out counts; a family does not.
    """
    mine, its = _read(name), _read(asked)
    extra, missing = mine.variants - its.variants, its.variants - mine.variants
    if not mine.families:
        return bool(extra & _STRONG) and bool(its.variants & _STRONG)
    if not its.families and not its.variants & _STRONG:
        return False  # a deployment with a name of its own says nothing of the model behind it
    if its.families and not mine.families & its.families:
        return True
    if (
        mine.version
        and mine.version != its.version
        and not _is_short(mine.version, its.version, is_full=is_full)
    ):
        return True
    if (mine.sizes and its.sizes and not mine.sizes & its.sizes) or extra:
        return True
    return is_full and bool(mine.version) and bool(missing - _OFTEN_LEFT_OUT)


def _is_short(version: str, whole: str, *, is_full: bool) -> bool:
    """5 for 5.1: a family may leave the rest out, a name may leave out a zero."""
    return whole.startswith(version) and (not is_full or not whole[len(version) :].strip("0"))


def _read(name: str) -> _Read:
    text = _NOISE.sub(" ", name.lower().rsplit("/", 1)[-1])
    if _CODE.fullmatch(text.strip()):
        return _Read(frozenset(), "", frozenset(), frozenset())
    words = [_SAME.get(word, word) for word in _WORD.findall(text)]
    if "banana" in words:
        words = [word for word in words if word not in ("nano", "pro")]
    sizes = {word for word in words if re.fullmatch(r"\d+(?:x\d+)?[bkme]", word)}
    version = "".join(word for word in words if re.fullmatch(r"\d+o?", word))
    letters = {word for at, word in enumerate(words[:-1]) if len(word) == 1 and words[at + 1][0].isdigit()}
    families = {word for word in words if word in _FAMILIES and (len(word) > 1 or word in letters)}
    return _Read(frozenset(families), version, frozenset(sizes), frozenset(set(words) & _VARIANTS))


def _of_models(models: Mapping[Any, Any]) -> Iterator[Hidden]:
    for key, entry in models.items():
        asked = asked_id(str(key), section(entry))
        named = section(entry).get("model_name") or section(entry).get("model")
        family = section(entry).get("family")
        names = [(str(key), True), (named, True), (family, False)]
        for name, is_full in names:
            if isinstance(name, str) and is_other(name, asked, is_full=is_full):
                yield Hidden(str(key), name, asked)


def _of_codes(codes: Mapping[Any, Any], models: Mapping[Any, Any]) -> Iterator[Hidden]:
    for code, entry in codes.items():
        target = section(entry).get("model_key")
        if target in models:
            asked = asked_id(str(target), section(models[target]))
            for name in (str(code), section(entry).get("label")):
                if isinstance(name, str) and is_other(name, asked):
                    yield Hidden(f"code {code}", name, asked)


def _of_slots(
    slots: Mapping[Any, Any], models: Mapping[Any, Any], codes: Mapping[Any, Any]
) -> Iterator[Hidden]:
    """Labels of slots against the first model of each tier."""
    for name, slot in slots.items():
        label = section(slot).get("label")
        for listed in section(section(slot).get("tiers")).values() if isinstance(label, str) else ():
            several = listed if isinstance(listed, list) else [None]
            first = listed if isinstance(listed, str) else next(iter(several), None)
            first = section(first).get("model") if isinstance(first, Mapping) else first
            if not isinstance(first, str):
                continue
            key = section(codes.get(first)).get("model_key") if first not in models else first
            asked = asked_id(str(key), section(models.get(key))) if key in models else str(first)
            if is_other(str(label), asked, is_full=False):
                yield Hidden(f"slot {name}", str(label), asked)
