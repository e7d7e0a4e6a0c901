"""docs/commands.md: every verb of the command line with arguments and options, made from the app itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import typer.main

from llmbench.cli import app
from llmbench.reference.tables import slug, table

_WORDS: Final = {str: "text", Path: "path", int: "whole number", float: "number", bool: ""}
_TOP: Final = """\
# Commands

Made from the command line itself (`make docs`); do not edit. `llmbench VERB --help` says the same. Exit
codes: 0 done, 1 an error said in one line (or a check found something), 2 wrong usage, 130 interrupted.
"""


def commands_page() -> str:
    """The whole page."""
    verbs = list(list_verbs())
    lines = [f"- [{name}](#{slug(name)}): {_first_line(verb)}" for name, verb in verbs]
    return "\n".join([_TOP, "\n".join(lines) + "\n", *(_verb_text(name, verb) for name, verb in verbs)])


def list_verbs() -> Iterator[tuple[str, Any]]:
    """Every verb by its whole name (`llmbench models pull`) with its command."""
    yield from _below("llmbench", typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for each, below in inner.items():
        if not below.hidden:
            yield from _below(f"{name} {each}", below)


def _help(verb: Any) -> str:
    """The verb's help in one paragraph each."""
    paragraphs = re.split(r"\n\s*\n", (verb.help or "").replace("\b", ""))
    return "\n\n".join(_plain(paragraph) for paragraph in paragraphs)


def _plain(text: str) -> str:
    """A help text as Markdown: one line, nothing taken for a tag."""
    return " ".join(text.split()).replace("<", r"\<")


def _first_line(verb: Any) -> str:
    return _help(verb).split("\n")[0]


def _verb_text(name: str, verb: Any) -> str:
    arguments = [each for each in verb.params if each.param_type_name == "argument"]
    options = [each for each in verb.params if each.param_type_name == "option" and not each.hidden]
    words = " ".join([name, *(_usage(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [_row(f"`{_argument(each)}`", each) for each in arguments]
    rows += [_row(", ".join(f"`{flag}`" for flag in _flags(each)), each) for each in options]
    given = table(("argument or option", "takes", "default", "meaning"), rows) if rows else ""
    return f"## {name}\n\n`{words}`\n\n{_help(verb)}\n\n{given}"


def _usage(argument: Any) -> str:
    name = _argument(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _flags(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def _row(name: str, param: Any) -> tuple[str, str, str, str]:
    return name, _takes(param), _default(param), _plain(param.help or "")


def _takes(param: Any) -> str:
    """What a value is; nothing for a flag."""
    kind = param.type_descriptor.annotation
    if get_origin(kind) is list or param.multiple:
        kind = (get_args(kind) or (str,))[0]
    if get_origin(kind) is Literal:
        said = ", ".join(f"`{choice}`" for choice in get_args(kind))
    else:
        said = _WORDS.get(kind, kind.__name__)
    bounds = "".join(
        f" {sign} {end}" for sign, end in (("≥", param.min), ("≤", param.max)) if end is not None
    )
    return f"{said}{bounds}{', more than once' if param.multiple or param.nargs == -1 else ''}"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    value = param.default
    if value in (None, "", False, ()) or callable(value):
        return ""
    return f"`{value}`"
