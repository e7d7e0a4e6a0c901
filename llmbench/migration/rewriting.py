"""A YAML text with other data in it: comments, order and spelling stay where nothing changes."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import ConfigError
from llmbench.migration.comments import comments, with_comments

#: What editing a text in place can meet, such as merge keys and anchors that are shared.
_UNFIT: Final = (
    YAMLError,
    yaml.YAMLError,
    ConfigError,
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    RecursionError,
)


def rewritten(old: str, name: str, data: Mapping[str, Any]) -> str | None:
    """The old text with the changes alone, every comment kept; None where its layout does not allow that.

    A text that can only be changed without its merge keys (`<<`) has what they bring written out.
    """
    tries = (False, True) if "<<" in old else (False,)
    return next((text for each in tries if (text := _edited(old, name, data, spells_out=each))), None)


def _edited(old: str, name: str, data: Mapping[str, Any], *, spells_out: bool) -> str | None:
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
        if spells_out:
            _spell_out(tree)
        _follow(tree, data)
        editor.dump(tree, written)
        text = with_comments(old, written.getvalue(), name)
        is_whole = sorted(comments(text)) == sorted(comments(old))
        return text if is_whole and parse_yaml(text, name).data == data else None
    except _UNFIT:
        return None  # written anew, and said


def _spell_out(tree: Any) -> None:
    """Put in place of each mapping with a merge key one that has all of its values itself."""
    for key, old in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(old, CommentedMap) and old.merge:
            own = [name for name, _ in old.non_merged_items()]  # last: a comment below them belongs there
            names = [*(name for name in old if name not in own), *own]
            made = CommentedMap((name, copy.deepcopy(old[name])) for name in names)
            made.ca.items.update({name: each for name, each in old.ca.items.items() if name in made})
            made.ca.comment = old.ca.comment
            tree[key] = made
        if isinstance(tree[key], (dict, list)):
            _spell_out(tree[key])


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
        if key not in tree or not is_same(tree[key], value):
            _set(tree, key, value)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and a boolean in one is no number in the other."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _set(tree: Any, key: Any, value: Any) -> None:
    """Set a value; one of the same form is changed within, so that what stands beside its parts stays."""
    old = tree[key] if isinstance(tree, list) or key in tree else None
    if isinstance(old, dict) and isinstance(value, Mapping) and value:
        _follow(old, value)
    elif isinstance(old, list) and isinstance(value, list) and len(old) == len(value):
        for number, item in enumerate(value):
            if not is_same(old[number], item):
                _set(old, number, item)
    else:
        tree[key] = value


def _rename(tree: Any, key: object, name: object) -> None:
    """Give a value another key, in its place and with its comment."""
    at, value, comment = list(tree).index(key), tree[key], tree.ca.items.pop(key, None)
    del tree[key]
    tree.insert(at, name, value)
    if comment is not None:
        tree.ca.items[name] = comment
