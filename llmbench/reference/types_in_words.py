"""What may stand at a key, in words: read from the annotation that pydantic checks it by."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmbench.config.values import Unit
from llmbench.errors import ERROR_KINDS

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_words(annotation: Any, metadata: Sequence[Any], link: Callable[[type[BaseModel]], str]) -> str:
    """The type of a key in words.

    Args:
        annotation: the field's annotation, without its outermost metadata.
        metadata: that metadata.
        link: what stands for a section.
    """
    return _words(annotation, link) + _bounds(metadata)


def unit_of(annotation: Any, metadata: Sequence[Any]) -> str:
    """The units of the numbers at a key; empty where there is none."""
    found = [item.name for item in (*metadata, *_all_metadata(annotation)) if isinstance(item, Unit)]
    return ", ".join(dict.fromkeys(found))


def sections_in(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Every section that may stand at a key, with what its place has behind the key's name."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    elif origin is Annotated:
        yield from sections_in(get_args(annotation)[0])
    elif origin is not None and origin is not Literal:
        step = {dict: ".<name>", list: "[]"}.get(origin, "")
        for part in get_args(annotation):
            for model, rest in sections_in(part):
                yield model, step + rest


def _all_metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
        yield from _all_metadata(get_args(annotation)[0])
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _all_metadata(part)


def _words(annotation: Any, link: Callable[[type[BaseModel]], str]) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return link(annotation)
    if origin is Annotated:
        return _words(parts[0], link) + _bounds(annotation.__metadata__)
    if origin is Literal:
        return "[error kind](errors.md)" if parts == ERROR_KINDS else ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        kinds = (_words(part, link) for part in parts if part is not types.NoneType)
        return " or ".join(dict.fromkeys(kinds))
    if origin is list:
        return f"list: {_words(parts[0], link)}"
    if origin in (dict, Mapping):
        return _mapping_words(parts, link)
    raise TypeError(f"no words for {annotation!r}; add them to {__name__}")


def _mapping_words(parts: tuple[Any, ...], link: Callable[[type[BaseModel]], str]) -> str:
    key, value = _words(parts[0], link), _words(parts[1], link)
    named = "name" if key in ("text", "whole number or text") else key
    return f"{named} → {value}"


def _bounds(metadata: Sequence[Any]) -> str:
    """Bounds of numbers; those of lengths and patterns are told by the loader."""
    said = []
    for item in _flat(metadata):
        for name, sign in _BOUNDS.items():
            value = getattr(item, name, None)
            if isinstance(value, int | float):
                said.append(f"{sign} {value:g}")
    return f" {' and '.join(said)}" if said else ""


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item
