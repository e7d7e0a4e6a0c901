"""Scorers of other distributions: the entry point group `llmbench.scorers`, each loaded when asked for.

An entry point's name is the scorer's name; loading it imports the module whose decorated function registers
that name. Only the entry point that a dataset names is imported, so a broken plug-in is an error of its own
scorer and of no other. A dataset card names scorers and never code.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeVar

from llmbench.errors import DatasetError

GROUP: Final = "llmbench.scorers"
#: What a scorer may raise unforeseen; each is raised again as an error that names it and where it is from.
FAULTS: Final = (Exception, SystemExit)
_T = TypeVar("_T")


def offered() -> dict[str, list[EntryPoint]]:
    """Every entry point of the group by name, sorted; several where distributions claim one name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        if point not in found.setdefault(point.name, []):
            found[point.name].append(point)
    return found


def distribution_of(point: EntryPoint) -> str:
    """The distribution that offers an entry point, as `name version`."""
    return "an unnamed distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def load(name: str, registered: MutableMapping[str, _T], mark: Callable[[_T, str], _T]) -> bool:
    """Import the plug-in that offers a scorer, which registers it.

    Args:
        name: the scorer's name.
        registered: the registry that the import adds to. What a failed import had added is taken out again.
        mark: gives a new entry the distribution that it came from.

    Returns:
        False when no distribution offers the name.

    Raises:
        DatasetError: several distributions offer the name, the import fails, or it registers no such name.
            The text names the distribution.
    """
    points = offered().get(name, [])
    if not points:
        return False
    if len(points) > 1:
        owners = " and ".join(distribution_of(point) for point in points)
        raise DatasetError(f"scorer `{name}` is offered by {owners}; uninstall one of them")
    point, before = points[0], dict(registered)
    owner = distribution_of(point)
    try:
        point.load()
    except FAULTS as error:
        for added in registered.keys() - before.keys():
            del registered[added]
        raise DatasetError(
            f"scorer `{name}` of {owner} cannot be loaded from `{point.value}` "
            f"({type(error).__name__}: {error}); repair or uninstall that distribution"
        ) from error
    for added in registered.keys() - before.keys():
        registered[added] = mark(registered[added], owner)
    if name not in registered:
        raise DatasetError(
            f"`{point.value}` of {owner} was loaded but registers no scorer `{name}`; decorate a function "
            f'there with @scorer("{name}")'
        )
    return True
