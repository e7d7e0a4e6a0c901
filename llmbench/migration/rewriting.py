"""A YAML text with other data in it: comments, order and spelling stay where nothing changes."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import ConfigError

_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*$")


def comments(text: str) -> list[str]:
    """The comments of a YAML text, one a line. A line of a text block that looks like one counts too."""
    return [found[0].strip() for line in text.splitlines() if (found := _COMMENT.search(line))]


def rewritten(old: str, name: str, data: Mapping[str, Any]) -> str | None:
    """The old text with the changes alone, every comment kept; None where its layout does not allow that."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    steps = [len(space) for space in re.findall(r"(?m)^( +)\w[^\n]*:", old)]
    step = steps[0] if steps else 2
    is_offset = re.search(r"(?m)^( *)[^\s#-][^\n]*:[ \t]*(?:#[^\n]*)?\n\1 +- ", old) is not None
    editor.indent(mapping=step, sequence=step + 2 if is_offset else 2, offset=step if is_offset else 0)
    written = io.StringIO()
    try:
        tree = editor.load(old)
        _follow(tree, data)
        editor.dump(tree, written)
        text = _with_comments(old, written.getvalue())
        return text if parse_yaml(text, name).data == data else None
    except (YAMLError, ConfigError, KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return None  # merge keys and anchors that are shared: written anew, and said


def _follow(tree: Any, data: Mapping[Any, Any]) -> None:
    """Make a tree that knows its comments equal to the data, touching only what differs."""
    fresh = [key for key in data if key not in tree]
    for key in [key for key in tree if key not in data]:
        name = next((name for name in fresh if data[name] == tree[key]), None)
        if name is None:
            del tree[key]
        else:
            fresh.remove(name)
            _rename(tree, key, name)
    for key, value in data.items():
        if key not in tree or tree[key] != value:
            if key in tree and isinstance(tree[key], dict) and isinstance(value, Mapping) and value:
                _follow(tree[key], value)
            else:
                tree[key] = value


def _rename(tree: Any, key: object, name: object) -> None:
    """Give a value another key, in its place and with its comment."""
    at, value, comment = list(tree).index(key), tree[key], tree.ca.items.pop(key, None)
    del tree[key]
    tree.insert(at, name, value)
    if comment is not None:
        tree.ca.items[name] = comment


def _with_comments(old: str, new: str) -> str:
    """The new text with the comments of lines that are gone, each on a line of its own in their place."""
    was, now = old.splitlines(), new.splitlines()
    made: list[str] = []
    for tag, first, last, start, end in difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        fresh = now[start:end]
        if tag not in ("delete", "replace"):
            made += fresh
            continue
        before, after = _lost(was[first:last], "\n".join(fresh))
        follower = next((line for line in (*fresh, *now[end:]) if line.strip()), was[first])
        made += [_indent(follower) + text for text in before]
        made += fresh
        follower = next((line for line in now[end:] if line.strip()), was[first])
        made += [_indent(follower) + text for text in after]
    return "\n".join(made) + "\n"


def _lost(gone: Sequence[str], fresh: str) -> tuple[list[str], list[str]]:
    """Comments that the new lines do not have: those of the lines themselves, and those of what follows."""
    texts = [(line, found[0].strip()) for line in gone if (found := _COMMENT.search(line))]
    lost = [(line, text) for line, text in texts if text not in fresh]
    tail = 0
    while tail < len(gone) and (not gone[-1 - tail].strip() or gone[-1 - tail].lstrip().startswith("#")):
        tail += 1
    of_next = set(gone[len(gone) - tail :])
    own = [text for line, text in lost if line not in of_next]
    return own, [text for line, text in lost if line in of_next]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
