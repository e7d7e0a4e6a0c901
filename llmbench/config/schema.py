"""JSON Schemas of the config files, for editors: configs/schema/<file>.json, made from the shapes.

Written anew by `python -m llmbench.config.schema configs/schema` (`make schema`); a test holds the committed
files against the shapes. The schemas are of draft 7, which editors read best.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices

from llmbench.config.files import ROOTS
from llmbench.config.shapes import CandidateShape, Shape

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
#: Sections that stand in lists. An overlay replaces a list as a whole, so these stay complete there.
_IN_LISTS: Final = frozenset({CandidateShape.__name__})


def schemas() -> dict[str, dict[str, Any]]:
    """File name in configs/schema -> JSON Schema, of every config file and of its overlay."""
    made: dict[str, dict[str, Any]] = {}
    for name, root in ROOTS.items():
        stem = name.removesuffix(".yaml")
        made[f"{stem}.json"] = file_schema(root, name)
        made[f"{stem}.local.json"] = file_schema(root, f"{stem}.local.yaml", is_overlay=True)
    return made


def file_schema(root: type[Shape], title: str, *, is_overlay: bool = False) -> dict[str, Any]:
    """The schema of one file. It allows what loads without a finding: an overlay may leave keys out."""
    whole = root.model_json_schema(by_alias=True, mode="validation")
    shapes = {shape.__name__: shape for shape in _shapes(root)}
    definitions = whole.pop("$defs", {})
    for name, definition in [(root.__name__, whole), *definitions.items()]:
        if name in shapes:
            _fit(definition, shapes[name], is_partial=is_overlay and name not in _IN_LISTS)
    return {"$schema": DRAFT, **whole, "title": title, "$defs": definitions}


def _shapes(root: type[Shape]) -> Iterator[type[Shape]]:
    """Every section class; which of them a file has is said by its schema."""
    yield root
    waiting = list(Shape.__subclasses__())
    while waiting:
        shape = waiting.pop()
        yield shape
        waiting += shape.__subclasses__()


def _fit(definition: dict[str, Any], shape: type[Shape], *, is_partial: bool) -> None:
    """Make pydantic's schema of one section say what the loader takes, and no more."""
    definition.pop("title", None)
    if is_partial:
        definition.pop("required", None)
    required = definition.get("required", [])
    # a section with nothing below counts as not written
    definition["type"] = "object" if required else ["object", "null"]
    definition["additionalProperties"] = False
    definition["patternProperties"] = {f"^{prefix}": {} for prefix in shape.open_prefixes}
    properties: dict[str, Any] = definition.get("properties", {})
    for field in shape.model_fields.values():
        choices = field.validation_alias
        if isinstance(choices, AliasChoices):
            first, *others = (str(choice) for choice in choices.choices)
            properties |= dict.fromkeys(others, properties[first])
    for key, value in properties.items():
        plain = {name: item for name, item in value.items() if name not in ("title", "default")}
        properties[key] = plain if key in required else _or_null(plain)


def _or_null(value: dict[str, Any]) -> dict[str, Any]:
    """The schema of a key that may be left without a value, which counts as not written."""
    rest = {name: item for name, item in value.items() if name != "anyOf"}
    branches = [branch for branch in value.get("anyOf", [value]) if branch != {"type": "null"}]
    if len(branches) > 1:
        return {**rest, "anyOf": [*branches, {"type": "null"}]}
    (branch,) = branches
    if "$ref" in branch:  # a section, which may be empty by itself
        return {**rest, **branch}
    if isinstance(branch.get("type"), str) and "enum" not in branch:
        return {**rest, **branch, "type": [branch["type"], "null"]}
    return {"anyOf": [branch, {"type": "null"}]}


def written(schema: dict[str, Any]) -> str:
    """The text of a schema's file."""
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema, and remove those of files that are no more; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    made = schemas()
    for path in folder.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, schema in made.items():
        (folder / name).write_text(written(schema), encoding="utf-8")
    return [folder / name for name in made]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m llmbench.config.schema FOLDER")
    sys.stdout.write("".join(f"{path}\n" for path in write_schemas(Path(sys.argv[1]))))
