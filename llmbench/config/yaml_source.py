"""YAML text to plain data that remembers its lines, with the traps of YAML refused.

Refused with file and line: duplicate keys (YAML keeps the last one silently), aliases that expand
without bound, tags that build objects, and keys that are not text or whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from llmbench.errors import ConfigError

MAX_NODES: Final = 200_000
#: A key that is a number: a slot, a status. Python itself refuses to read one of thousands of digits.
_WHOLE: Final = re.compile("[0-9]{1,18}")
_LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Path = tuple[str | int, ...]
#: What the YAML library raises for a value that does not fit its tag.
UNREADABLE: Final = (ValueError, LookupError, AttributeError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class YamlSource:
    """Parsed data of one file and the 1-based line of every key path in it.

    `overlay` is the `.local.yaml` file that was merged over it, or None.
    """

    name: str
    data: dict[str, Any]
    lines: dict[Path, int]
    overlay: YamlSource | None = None

    def __contains__(self, path: Path) -> bool:
        return path in self.lines or (self.overlay is not None and path in self.overlay)

    def place(self, path: Path) -> tuple[str, int | None]:
        """File and line of a key path, or of its nearest parent that is written somewhere."""
        while path:
            if self.overlay is not None and path in self.overlay.lines:
                return self.overlay.name, self.overlay.lines[path]
            if path in self.lines:
                return self.name, self.lines[path]
            path = path[:-1]
        return self.name, None


def parse_yaml(text: str, name: str) -> YamlSource:
    """Parse one YAML mapping.

    Raises:
        ConfigError: the text is not YAML, not a mapping, or uses one of the refused traps.
    """
    try:
        return _parsed(text, name)
    except RecursionError as error:
        raise ConfigError("values are nested too deeply; flatten them", path=name) from error
    except UnicodeEncodeError as error:
        raise ConfigError("holds half of a character; save the text as UTF-8", path=name) from error


def _parsed(text: str, name: str) -> YamlSource:
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not valid YAML: {error.problem}", path=name, line=line) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {str(error).splitlines()[0]}", path=name) from error
    if node is None:
        return YamlSource(name, {}, {})
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise ConfigError("the file must hold a mapping of keys to values", path=name, line=line)
    _refuse_bombs(node, name)
    lines = dict(_walk(node, (), name))
    try:
        data = yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"{error.problem}; use plain values only", path=name, line=line) from error
    except UNREADABLE as error:  # a date that no calendar has, `!!bool x`
        raise ConfigError(f"a value cannot be read: {error}; put it in quotes", path=name) from error
    return YamlSource(name, data, lines)


def _refuse_bombs(node: yaml.Node, name: str) -> None:
    """Count the nodes that remain after every alias is written out, without writing them out."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(current: yaml.Node) -> int:
        if id(current) in sizes:
            return sizes[id(current)]
        if id(current) in open_nodes:
            line = current.start_mark.line + 1
            raise ConfigError("an alias refers to itself; write the value out", path=name, line=line)
        open_nodes.add(id(current))
        total = 1 + sum(size(child) for child in _children(current))
        open_nodes.discard(id(current))
        sizes[id(current)] = total
        return total

    if size(node) > MAX_NODES:
        raise ConfigError(f"aliases expand to more than {MAX_NODES} values; write them out", path=name)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _walk(node: yaml.Node, path: Path, name: str) -> Iterator[tuple[Path, int]]:
    """Every key path under a node with its line; refuses duplicate and unusable keys."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _walk(value, (*path, index), name)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str | int, int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            key = _key(key_node, name, line)
            if key in seen:
                raise ConfigError(
                    f"the key {key!r} stands here and in line {seen[key]}; keep one", path=name, line=line
                )
            seen[key] = line
            yield (*path, key), line
            yield from _walk(value, (*path, key), name)


def _key(node: yaml.Node, name: str, line: int) -> str | int:
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:str":
            return str(node.value)
        if node.tag == "tag:yaml.org,2002:int" and _WHOLE.fullmatch(str(node.value)):
            return int(node.value)
        if node.tag == "tag:yaml.org,2002:merge":
            return "<<"
    spelling = str(getattr(node, "value", "?"))
    raise ConfigError(f"the key {spelling!r:.100} is not text; put it in quotes", path=name, line=line)
