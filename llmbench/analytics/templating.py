"""The environment of the templates: the doors that every text passes, and how they say what is ours.

A template writes a text of ours by `say`, as Python does; what stands in its places passes the same doors as
what a template shows by itself. jinja2's own extension for translations is not used because it puts values
into a translated text behind the environment's back: `finalize` would not see them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from llmbench.analytics.task_story import language_name
from llmbench.display import wording
from llmbench.display.language import ENGLISH, mark, retell, say, spoken, translated
from llmbench.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
Format = Literal["html", "markdown", "pull request"]


def stake(evidence: float | None) -> str:
    """How often a stake grew, in few digits."""
    if evidence is None:
        return wording.MISSING
    if evidence >= 1e6:
        return say("over a million")
    return wording.number(evidence, 0 if evidence >= 10 else 1)


def goal(threshold: float | None) -> str:
    """How often a stake must grow: the next whole number, as a threshold is reached and not rounded to."""
    return wording.MISSING if threshold is None else wording.number(math.ceil(threshold - 1e-6))


def either(texts: Sequence[str]) -> str:
    """Texts of which one holds: 'a, b or c'."""
    *others, last = texts
    return say("{others} or {last}", others=wording.listed(others), last=last) if others else last


def page_name(tag: str, name: str = "report.html") -> str:
    """The file of a report in a language: report.html in English, report.ja.html in Japanese."""
    stem, _, ending = name.rpartition(".")
    return name if tag == ENGLISH else f"{stem}.{tag}.{ending}"


def language_style() -> str:
    """The style sheet that the spoken language adds to the report's; empty where it has none."""
    sheet = TEMPLATES / page_name(spoken(), "report.css")
    return "" if spoken() == ENGLISH or not sheet.is_file() else sheet.read_text(encoding="utf-8")


_ACTIONS: Final = {
    "renamed": mark("renamed"),
    "clamped": mark("clamped"),
    "dropped": mark("dropped"),
    "rejected": mark("rejected"),
    "moved": mark("moved"),
}


def action(name: str) -> str:
    """What a rule did to a parameter, in the spoken language; a word that we do not know stays as it is."""
    return say(_ACTIONS[name]) if name in _ACTIONS else name


#: From values to words of ours; a stranger's text stays out of them.
_WORDS: Final[Mapping[str, Callable[..., str]]] = {
    "money": wording.money,
    "share": wording.share,
    "points": wording.score,
    "plain": wording.plain,
    "change": wording.change,
    "points_interval": wording.score_interval,
    "change_interval": wording.change_interval,
    "duration": wording.duration,
    "duration_interval": wording.duration_interval,
    "ratio": wording.ratio,
    "rate": wording.rate,
    "number": wording.number,
    "count_of": wording.count,
    "size": wording.size,
    "span": wording.span,
    "percent": wording.percent,
    "stake": stake,
    "goal": goal,
    "either": either,
    "page": page_name,
}


class Plain(str):
    """Text of our own that is Markdown already."""

    __slots__ = ()


@cache
def environment(form: Format) -> Environment:
    """A template environment in which every plain string is made visible and escaped by default.

    One serves every language: what it says is looked up when it is said, and its templates are read once. It
    is sandboxed: no template reaches the inside of a value or changes one.
    """
    from jinja2 import FileSystemLoader, StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup

    is_html = form == "html"
    escape = {"html": visible, "markdown": wording.markdown, "pull request": wording.pull_request}[form]
    ours: type[str] = Markup if is_html else Plain

    def clean(value: object) -> object:
        if isinstance(value, Markup | Plain | Undefined):  # through their door already, or an error
            return value
        return escape(str(value))

    def said(text: str, /, **values: object) -> str:
        return ours(translated(text)).format(**{name: clean(value) for name, value in values.items()})

    def listed(names: Sequence[object]) -> str:
        cleaned = [Markup.escape(clean(name)) if is_html else str(clean(name)) for name in names]
        return ours(wording.listed(cleaned))

    made = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,  # Markdown has its own escaping, in `clean`
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name, words in _WORDS.items():
        made.filters[name] = words if is_html else _as_plain(words, form)
    made.filters |= {
        "action": action,
        "language": language_name,
        "listed": listed,
        "retold": _retold if is_html else _retold_plain,
    }
    made.globals["say"] = lambda text, /, **values: ours(said(text, **values))
    return made


def _as_plain(words: Callable[..., str], form: Format) -> Callable[..., str]:
    """Words of ours are Markdown as they are, but for a dollar sign: for the host it may begin a formula."""
    if form == "pull request":
        return lambda *args: Plain(words(*args).replace("$", r"\$"))
    return lambda *args: Plain(words(*args))


def _retold_plain(text: object) -> str:
    return retell(str(text)) or str(text)


def _retold(text: object) -> Any:
    """A stored sentence in the spoken language; one that is not known stays, marked as the English it is."""
    from markupsafe import Markup

    told = retell(str(text))
    if told is not None or not str(text) or spoken() == ENGLISH:
        return str(text) if told is None else told
    return Markup('<span lang="en">{}</span>').format(visible(str(text)))
