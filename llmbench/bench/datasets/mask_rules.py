r"""The rules that a user adds to the personal ones, from a YAML file; no pattern of theirs can hang.

    without: [ip]                  # rules of ours that are not wanted
    rules:
      - name: employee
        pattern: 'EMP-\d{6}'
        replacement: '[EMPLOYEE_{n}]'

Patterns are matched by RE2 (through DuckDB), whose time is linear in the text whatever the pattern is. That
is why look-around and back-references are refused: they cannot be had in linear time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmbench.bench.datasets.masking import Rule, Spans
from llmbench.bench.datasets.personal import PERSONAL_RULES
from llmbench.bounded import read_text
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError, DatasetError

#: Code points that no text may hold (Unicode's noncharacters) mark where a match begins and ends.
_MARKS: Final = "".join(map(chr, range(0xFDD0, 0xFDF0)))


class _RuleFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"\A[A-Za-z][A-Za-z0-9_]{0,40}\z")
    pattern: str = Field(min_length=1, max_length=2000)
    replacement: str | None = None


class _MaskFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    without: list[str] = []
    rules: list[_RuleFile] = []


def mask_rules(path: Path | None = None) -> tuple[Rule, ...]:
    """The rules of a file, in its order, and then the personal ones; without a file those alone.

    Raises:
        DatasetError: the file cannot be read, a key is unknown, a name is taken, or a pattern is none that
            RE2 takes or matches an empty text. Names file and line.
    """
    if path is None:
        return PERSONAL_RULES
    source = _source(path)
    try:
        wanted = _MaskFile.model_validate(source.data)
    except ValidationError as error:
        raise _refusal(error, path, source) from error
    names = [rule.name for rule in PERSONAL_RULES]
    for index, name in enumerate(wanted.without):
        if name not in names:
            raise DatasetError(
                f"{_place(path, source, ('off', index))}: no rule `{name}`; {_near(name, names)}"
            )
    kept = tuple(rule for rule in PERSONAL_RULES if rule.name not in wanted.without)
    taken = {rule.name for rule in kept}
    own: list[Rule] = []
    for index, rule in enumerate(wanted.rules):
        if rule.name in taken:
            where = _place(path, source, ("rules", index, "name"))
            raise DatasetError(f"{where}: there is a rule `{rule.name}` already; choose another name")
        taken.add(rule.name)
        find = _finder(rule.pattern, _place(path, source, ("rules", index, "pattern")))
        replacement = f"[{rule.name.upper()}_{{n}}]" if rule.replacement is None else rule.replacement
        own.append(Rule(rule.name, replacement, find))
    return (*own, *kept)


def _source(path: Path) -> YamlSource:
    try:
        return parse_yaml(read_text(path), str(path))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); name a file of mask rules") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:1: not UTF-8; save the file as UTF-8") from error
    except ConfigError as error:
        raise DatasetError(str(error)) from error


def _place(path: Path, source: YamlSource, key: tuple[str | int, ...]) -> str:
    return f"{path}:{source.place(key)[1] or 1}"


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"there are {', '.join(known)}"


def _refusal(error: ValidationError, path: Path, source: YamlSource) -> DatasetError:
    problems = error.errors(include_url=False, include_input=False)
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")  # misspelt is also missing
    key = tuple(problem["loc"])
    name = ".".join(map(str, key))
    if problem["type"] == "extra_forbidden":
        known = _RuleFile.model_fields if len(key) > 1 else _MaskFile.model_fields
        return DatasetError(
            f"{_place(path, source, key)}: unknown key `{name}`; {_near(str(key[-1]), list(known))}"
        )
    return DatasetError(f"{_place(path, source, key)}: `{name}`: {problem['msg']}; correct it")


def _finder(pattern: str, place: str) -> Callable[[str], Spans]:
    """A finder of one pattern's matches, checked first on an empty text."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})

    def marked(text: str, marks: str) -> str:
        values = {"text": text, "pattern": pattern, "marked": rf"{marks[0]}\0{marks[1]}"}
        query = "select regexp_replace($text, $pattern, $marked, 'g')"
        found: tuple[Any, ...] | None = connection.execute(query, values).fetchone()
        return str(found[0]) if found else text

    try:
        if marked("", _MARKS):
            raise DatasetError(f"{place}: the pattern matches an empty text; make it ask for a character")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rsplit("Error: ", 1)[-1]
        raise DatasetError(
            f"{place}: not a pattern for RE2 ({reason}); look-around and back-references are not to be had"
        ) from error

    def find(text: str) -> Iterator[tuple[int, int]]:
        marks = "".join(mark for mark in _MARKS if mark not in text)[:2]
        if len(marks) < 2:  # a text of every noncharacter is no text of a person
            return
        at = 0
        for number, piece in enumerate(re.split(f"[{marks}]", marked(text, marks))):
            if number % 2 and piece:
                yield at, at + len(piece)
            at += len(piece)

    return find
