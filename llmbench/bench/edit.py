"""Edit a YAML text so that only the lines which change are touched: comments, quotes and order stay.

A parser says where each node stands, the text is spliced there, and the result is parsed again: unless it
holds exactly the change that was meant, nothing is returned.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import yaml

from llmbench.config.yaml_source import UNREADABLE
from llmbench.errors import ConfigError

Path = tuple[str, ...]
Scalar = str | float | bool
Value = Scalar | list[str]

_PLAIN: Final = re.compile(r"\w[\w./@+-]*")


def set_value(text: str, path: Path, value: Value) -> str:
    """Set a scalar, or add a key with a scalar or a list of scalars; parents that are missing are made.

    Args:
        text: the YAML text of a file.
        path: the keys from the top to the one to set.
        value: a text, a number or a truth value; a list only for a key which does not exist yet.

    Returns:
        The edited text.

    Raises:
        ConfigError: the text is no YAML mapping, or the place cannot be edited safely (an alias, an anchor).
    """
    return _checked(text, lambda: _set(text, path, value), lambda data: _set_in(data, path, value), path)


def put_before(text: str, path: Path, item: str, before: str | None = None) -> str:
    """Put an item into a list right before another, moving it there when the list has it further back.

    A list entry that is a mapping with a `model` key counts as that model and moves whole.

    Args:
        text: the YAML text of a file.
        path: the keys from the top to the list.
        item: the model key.
        before: the entry to stand before; the first one when it is None or not in the list.

    Raises:
        ConfigError: there is no list at the path, or it cannot be edited safely.
    """

    def change(data: Any) -> None:
        found = data
        for key in path:
            found = found[key]
        at, target = _places([named_model(entry) for entry in found], item, before)
        if at is None or at > target:
            found.insert(target, item if at is None else found.pop(at))

    return _checked(text, lambda: _put_before(text, path, item, before), change, path)


def read_mapping(text: str) -> dict[str, Any]:
    """Parse a YAML text that is a mapping or empty.

    Raises:
        ConfigError: it is neither.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, *UNREADABLE) as error:
        raise ConfigError(f"is not YAML: {' '.join(str(error).split())}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"holds a {type(data).__name__} at the top, not a mapping")
    return data


def unified_diff(before: Mapping[str, str], after: Mapping[str, str], folder: str = "configs") -> str:
    """Make one diff that `git apply` takes, in the order of the file names; a file not in `before` is new."""
    parts: list[str] = []
    for name in sorted(after):
        old, new = before.get(name), after[name]
        if old == new:
            continue
        source = "/dev/null" if old is None else f"a/{folder}/{name}"
        parts.append(f"diff --git a/{folder}/{name} b/{folder}/{name}\n")
        parts.extend(["new file mode 100644\n"] if old is None else [])
        parts.extend(
            line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
            for line in difflib.unified_diff(
                split_lines(old or ""), split_lines(new), source, f"b/{folder}/{name}"
            )
        )
    return "".join(parts)


def split_lines(text: str) -> list[str]:
    """Lines with their ends, split at line feeds alone, as a diff is."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _checked(text: str, edit: Callable[[], str], change: Callable[[Any], None], path: Path) -> str:
    wanted = _apart(read_mapping(text))
    where = ".".join(path)
    try:
        change(wanted)
        edited = edit()
        if read_mapping(edited) == wanted:
            return edited
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(f"{where} cannot be edited safely ({error}); edit it by hand") from error
    raise ConfigError(f"{where} cannot be edited safely (an anchor or an alias?); edit it by hand")


def _apart(data: Any) -> Any:
    """Copy parsed YAML so that an anchor and its aliases are no longer one object."""
    if isinstance(data, dict):
        return {key: _apart(value) for key, value in data.items()}
    return [_apart(value) for value in data] if isinstance(data, list) else data


def _set_in(data: Any, path: Path, value: Value) -> None:
    for key in path[:-1]:
        if data.get(key) is None:
            data[key] = {}
        data = data[key]
    data[path[-1]] = value


def _set(text: str, path: Path, value: Value) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return _append(text, _block(path, value, ""))
    node: yaml.Node = root
    for depth, key in enumerate(path):
        entry = _entry(node, key)
        if entry is None:
            return _add(text, node, path[depth:], value)
        name, node = entry
        if _is_null(node):
            return _fill(text, name, node, path[depth + 1 :], value)
    if not isinstance(node, yaml.ScalarNode) or isinstance(value, list):
        raise ConfigError("it is not a single value")
    quote = {"'": "'", '"': '"'}.get(node.style or "", "")
    shown = (
        f"{quote}{value}{quote}"
        if quote and isinstance(value, str) and _PLAIN.fullmatch(value)
        else _scalar(value)
    )
    start, end = node.start_mark.index, node.end_mark.index
    if gap := re.match(r" {2,}(?=#)", text[end:]):  # a comment stays in its column where there is room
        shown += " " * max(1, end - start + len(gap.group()) - len(shown))
        end += len(gap.group())
    return text[:start] + shown + text[end:]


def _entry(node: yaml.Node, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{key} has no mapping above it")
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _add(text: str, node: yaml.Node, rest: Path, value: Value) -> str:
    """Add a key that is missing as the last one of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError("its parent is not a mapping")
    if node.flow_style:
        close = node.end_mark.index - 1
        body = text[:close].rstrip()
        comma = "" if body.endswith(("{", ",")) else ", "
        gap = " " if body.endswith(",") else ""
        return f"{body}{comma}{gap}{_flow(rest, value)}{text[len(body) :]}"
    indent = " " * node.value[0][0].start_mark.column
    end = _line_end(text, _last(node).end_mark.index)
    return _insert(text, end, _block(rest, value, indent))


def _fill(text: str, name: yaml.Node, node: yaml.Node, rest: Path, value: Value) -> str:
    """Give a key without a value its first one."""
    if not rest:
        shown = _scalar(value) if not isinstance(value, list) else _flow((), value)
        start, end = node.start_mark.index, node.end_mark.index
        if start == end:  # written as nothing
            start = end = text.index(":", name.end_mark.index) + 1
            shown = f" {shown}"
        return text[:start] + shown + text[end:]
    if node.start_mark.index != node.end_mark.index:
        raise ConfigError("its parent is written as null")
    indent = " " * (name.start_mark.column + 2)
    return _insert(text, _line_end(text, name.end_mark.index), _block(rest, value, indent))


def _places(names: Sequence[Any], item: str, before: str | None) -> tuple[int | None, int]:
    """Where an item stands in a list, if it does, and where it is to stand."""
    return (names.index(item) if item in names else None), (names.index(before) if before in names else 0)


def _put_before(text: str, path: Path, item: str, before: str | None) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in path:
        entry = None if node is None else _entry(node, key)
        if entry is None:
            raise ConfigError(f"{key} does not exist")
        node = entry[1]
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError("it is not a list")
    at, target = _places([_node_name(entry) for entry in node.value], item, before)
    if at is not None and at <= target:
        return text
    if node.flow_style:
        return _put_before_in_flow(text, node, at, target, item)
    first = _line_start(text, node.value[target].start_mark.index)
    if at is None:
        indent = text[first : text.index("-", first)]
        return text[:first] + f"{indent}- {_scalar(item)}{_newline(text)}" + text[first:]
    start = _line_start(text, node.value[at].start_mark.index)
    end = _line_end(text, _last(node.value[at]).end_mark.index)
    moved = text[start:end]
    if not moved.endswith("\n"):
        return text[:first] + moved + _newline(text) + text[first:start].rstrip("\r\n")
    return text[:first] + moved + text[first:start] + text[end:]


def _put_before_in_flow(text: str, node: yaml.SequenceNode, at: int | None, target: int, item: str) -> str:
    if not node.value:
        opening = node.end_mark.index - 1
        return text[:opening] + _scalar(item) + text[opening:]
    first = node.value[target].start_mark.index
    if at is None:
        return f"{text[:first]}{_scalar(item)}, {text[first:]}"
    start, end = node.value[at].start_mark.index, node.value[at].end_mark.index
    moved, before = text[start:end], node.value[at - 1].end_mark.index
    if "\n" in text[before:start]:  # an item on a line of its own: what stands around it may be comments
        before = start
        end += len(comma.group()) if (comma := re.match(r"[ \t]*,", text[end:])) else 0
    return f"{text[:first]}{moved}, {text[first:before]}{text[end:]}"


def _block(path: Path, value: Value, indent: str) -> list[str]:
    lines = [f"{indent}{'  ' * depth}{_scalar(key)}:" for depth, key in enumerate(path)]
    lines[-1] += f" {_flow((), value)}" if isinstance(value, list) else f" {_scalar(value)}"
    return lines


def _flow(path: Path, value: Value) -> str:
    shown = (
        _scalar(value) if not isinstance(value, list) else f"[{', '.join(_scalar(item) for item in value)}]"
    )
    for depth, key in enumerate(reversed(path)):
        shown = f"{_scalar(key)}: {shown}" if depth == 0 else f"{_scalar(key)}: {{{shown}}}"
    return shown


def _scalar(value: Scalar) -> str:
    """Write a text plain where YAML reads it back as the same text, else in double quotes; others as JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = _PLAIN.fullmatch(value) is not None and yaml.safe_load(value) == value
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _insert(text: str, at: int, lines: Sequence[str]) -> str:
    newline = _newline(text)
    if at and text[at - 1] != "\n":
        return text[:at] + newline + newline.join(lines) + text[at:]
    return text[:at] + "".join(line + newline for line in lines) + text[at:]


def _append(text: str, lines: Sequence[str]) -> str:
    return _insert(text, len(text), lines)


def _last(node: yaml.Node) -> yaml.Node:
    """The node whose end is the real end: a block's own end mark lies behind the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return node


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def named_model(entry: Any) -> Any:
    """The model that an entry of a list names: itself, or the `model` of a mapping."""
    return entry.get("model") if isinstance(entry, dict) else entry


def _node_name(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return next((value.value for name, value in node.value if name.value == "model"), None)
    return node.value


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    if at and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
