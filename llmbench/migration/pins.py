"""A check apart from the reading: every model that a task file names is carried, or is listed as lost.

It walks the files as they are and knows nothing of their forms, so no form that the reading does not
understand can make a pin vanish.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llmbench.migration.reading import STAGES, Legacy
from llmbench.migration.tasks import OVERRIDES, REGISTRY, ROUTER, TASKS, Entry
from llmbench.migration.values import Keys

#: A key that names a model, such as `model`, `draft_model`, `llm` or `modelName`.
_PIN: Final = re.compile(r"(?i)(?:.*[_-])?(?:models?|llm)(?:[_-]?(?:name|key|id))?|deployment")
_DEFAULT: Final = "default_model"
_UNREAD: Final = "no task was read that has this model here; write it into the new folder by hand"
_UNUSED: Final = "no task runs on it: each has another model, or the variable of the pipeline won"
#: What is sent as it is; a model in it is a parameter.
_SENT: Final = frozenset({"options", "defaults", "params", "extra_body"})
_FILES: Final[Mapping[str, Keys]] = {
    **dict.fromkeys(STAGES, ()),
    TASKS: (),
    REGISTRY: (),
    OVERRIDES: ("tasks",),
    ROUTER: ("tasks",),
}


def lose_unread_pins(legacy: Legacy, entries: Iterable[Entry]) -> None:
    """List every model in a task file that no entry has and no loss names."""
    read = list(entries)
    for file, start in _FILES.items():
        data = legacy.data.get(file)
        for key in start:
            data = data.get(key) if isinstance(data, Mapping) else None
        for path, name in _pins(data, start):
            if not _is_carried(read, file, path, name) and not _is_listed(legacy, file, path):
                legacy.lost(file, path, name, _UNUSED if _DEFAULT in path else _UNREAD)


def _pins(value: Any, path: Keys) -> Iterator[tuple[Keys, str]]:
    """Path and text of each model's name below a value."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = ((key, item) for key, item in value.items() if key not in _SENT)
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        names = item if isinstance(item, list) else [item]
        if isinstance(key, str) and _PIN.fullmatch(key) and all(isinstance(name, str) for name in names):
            yield from (((*path, key), name) for name in names if name.strip())
        else:
            yield from _pins(item, (*path, key))


def _is_carried(entries: Iterable[Entry], file: str, path: Keys, name: str) -> bool:
    """Whether an entry at, above or below the place has the model."""
    above = path[: next(at for at, key in enumerate(path) if key in (_DEFAULT, "llm") or at == len(path) - 1)]
    return any(
        name in {each.model for each in entry.names}
        and (entry.path[: len(above)] == above or path[: len(entry.path)] == entry.path)
        for entry in entries
        if entry.file == file
    )


def _is_listed(legacy: Legacy, file: str, path: Keys) -> bool:
    places = {".".join(map(str, path[:size])) for size in range(1, len(path) + 1)}
    name = legacy.place(file, path)[0]
    return any(loss.file == name and loss.key in places for loss in legacy.losses.found)
