"""docs/configuration.md: every key of every file that a person writes, made from the pydantic models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from llmbench.bench.card import Card, MediaCard, Row
from llmbench.bench.plan_file import PlanFile
from llmbench.catalog import NEVER_FALL_BACK, Policy
from llmbench.config.files import ROOTS
from llmbench.config.shapes import PolicyShape, RetryPolicyShape
from llmbench.reference.tables import slug, table
from llmbench.reference.types_in_words import sections_in, type_words, unit_of
from llmbench.reference.variables import VARIABLES

#: Heading of a part -> the word before its sections' names, and its files.
PARTS: Final[Mapping[str, tuple[str, Mapping[str, type[BaseModel]]]]] = {
    "Config files": ("", ROOTS),
    "Sweep plans": ("Plan: ", {"configs/sweeps/NAME.yaml": PlanFile}),
    "Datasets": (
        "Dataset: ",
        {
            "datasets/NAME/card.yaml": Card,
            "datasets/NAME/card.yaml (pictures, narrations)": MediaCard,
            "datasets/NAME/data.jsonl": Row,
        },
    ),
}
_TOP: Final = """\
# Configuration reference

Made from the models that check the files (`make docs`); do not edit. What the router does with the keys:
[router.md](router.md); providers one by one: [providers.md](providers.md); sweeps: [sweeps.md](sweeps.md).

An unknown key is an error with a guess where it is near to a known one, else a warning; `llmbench check`
finds all of them, and editors do by the schemas in `configs/schema`. Keys that begin with `x-` are yours.
Each file of `configs/` may have a `NAME.local.yaml` beside it that is merged over it. Where names are wanted
in a list, one name needs no list. A default of – means that nothing is set.
"""


@dataclass(slots=True)
class Section:
    """One kind of section: its heading, and every place where it may stand."""

    model: type[BaseModel]
    title: str
    places: list[str] = field(default_factory=list)


def configuration_page() -> str:
    """The whole page."""
    parts = [_TOP, _contents(), _variables()]
    for heading, (prefix, files) in PARTS.items():
        parts.append(f"## {heading}\n")
        sections = list_sections(prefix, files)
        titles = {section.model: section.title for section in sections}
        parts += [_section_text(section, titles) for section in sections]
    return "\n".join(parts)


def list_sections(prefix: str, files: Mapping[str, type[BaseModel]]) -> list[Section]:
    """The sections of files: each file's own, then what stands below its keys, every kind of section once."""
    found: dict[type[BaseModel], Section] = {}
    for name, root in files.items():
        if root in found:  # two files of one form
            found[root].title += f", {name}"
        else:
            found[root] = Section(root, name)
    roots = tuple(found)
    for root in roots:
        file = found[root].title
        for model, place in _below(root, ""):
            section = found.setdefault(model, Section(model, prefix + _title(model)))
            where = f"`{place}`" if len(files) == 1 else f"`{place}` in {file}"
            section.places += [where] if where not in section.places else []
    return list(found.values())


def _below(model: type[BaseModel], place: str) -> Iterator[tuple[type[BaseModel], str]]:
    for name, info in model.model_fields.items():
        key = f"{place}.{_names(name, info)[0]}".lstrip(".")
        for inner, rest in sections_in(info.annotation):
            yield inner, key + rest
            yield from _below(inner, key + rest)


def _title(model: type[BaseModel]) -> str:
    words = re.findall(r"[A-Z][a-z]*", model.__name__.removesuffix("Shape").removesuffix("File"))
    return " ".join(words).capitalize()


def _contents() -> str:
    lines = ["- [Environment variables](#environment-variables)"]
    for heading, (prefix, files) in PARTS.items():
        titles = [section.title for section in list_sections(prefix, files)]
        links = ", ".join(f"[{title.removeprefix(prefix)}](#{slug(title)})" for title in titles)
        lines.append(f"- {heading}: {links}")
    return "\n".join(lines) + "\n"


def _variables() -> str:
    rows = [(f"`{name}`", meaning) for name, meaning in VARIABLES.items()]
    note = "Variables that a file names itself (`env_api_key`, `env_endpoint`) are read besides.\n"
    return f"## Environment variables\n\n{note}\n{table(('variable', 'meaning'), rows)}"


def _section_text(section: Section, titles: Mapping[type[BaseModel], str]) -> str:
    said = _without_name(section)
    places = f"\nStands at {'; '.join(section.places)}.\n" if section.places else ""
    rows = [_row(section.model, name, info, titles) for name, info in section.model.model_fields.items()]
    head = ("key", "type", "default", "unit", "meaning")
    return f"### {section.title}\n\n{said}\n{places}\n{table(head, rows)}"


def _without_name(section: Section) -> str:
    """What the model says of itself; a file's own name stands in the heading."""
    said = " ".join((section.model.__doc__ or "").split())
    said = re.sub(r"^`[^`]+`(?:, `[^`]+`)*: ", "", said)
    return said[:1].upper() + said[1:]


def _row(
    model: type[BaseModel], name: str, info: FieldInfo, titles: Mapping[type[BaseModel], str]
) -> tuple[str, ...]:
    def link(inner: type[BaseModel]) -> str:
        return f"[{_title(inner).lower()}](#{slug(titles[inner])})"

    return (
        ", ".join(f"`{each}`" for each in _names(name, info)),
        type_words(info.annotation, info.metadata, link),
        _default(model, name, info),
        unit_of(info.annotation, info.metadata),
        info.description or "",
    )


def _names(name: str, info: FieldInfo) -> tuple[str, ...]:
    """The spellings of a key."""
    if isinstance(info.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in info.validation_alias.choices)
    return (name,)


def _default(model: type[BaseModel], name: str, info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if issubclass(model, PolicyShape) and not issubclass(model, RetryPolicyShape):
        value = _policy_default(name)
    is_empty = value is None or value is PydanticUndefined or value in ({}, [], "", ())
    if is_empty or isinstance(value, BaseModel):
        return "–"
    if isinstance(value, str) and " " in value:
        return value
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _policy_default(name: str) -> Any:
    """What holds where the policy's file says nothing."""
    value = next(getattr(Policy(), each.name) for each in fields(Policy) if each.name == name)
    if name == "fall_back_on":
        return f"all but {', '.join(sorted(NEVER_FALL_BACK))}"
    if name == "transient_statuses":
        return sorted(value)
    return None if name == "breaker" else value
