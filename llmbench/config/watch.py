"""Changed config files, taken up without a restart: a whole and valid set of files, or the old one stays."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from llmbench.config.model import FILES, Config
from llmbench.errors import ConfigError

#: Of every file: name, size, time of the last change (ns) and inode; or name and the number of an error.
Signature = tuple[tuple[str | int, ...], ...]


class ConfigWatch:
    """Watches a config folder, overlays included. Safe to share between threads.

    Files are written one after the other, and some editors write one file in pieces. A set is taken up
    when its signature has been the same for `settle_s` seconds and is still the same after reading, and
    when it loads without error. A writer that pauses for longer than that within one change should write
    beside the file and rename.
    """

    def __init__(
        self,
        folder: str | Path,
        current: Config | None = None,
        *,
        every_s: float = 1.0,
        settle_s: float = 0.5,
        accept: Callable[[Config], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start to watch.

        Args:
            folder: the config folder.
            current: the Config in use. It may have been read before a change that this watch did not see,
                so the files are read once more; a set that says the same is not handed out.
            every_s: seconds between two looks at the files.
            settle_s: seconds without a change before the files are read.
            accept: is called with a new Config before it is taken up; a ConfigError refuses it.
            clock: seconds that never go back.
        """
        self._folder = Path(folder)
        self._hash = None if current is None else current.hash
        self._every_s, self._settle_s = every_s, settle_s
        self._accept, self._clock = accept, clock
        self._lock = threading.Lock()
        self._next_look = clock()
        #: The signature that is in use or was refused: nothing to do while the files have it.
        self._done = signature(self._folder) if current is None else ()
        self._seen: Signature = ()
        self._seen_at = 0.0

    def changed(self) -> Config | None:
        """The new Config, once, after a change; None while there is nothing new.

        Cheap enough for every call: the files are looked at once in `every_s`, by one thread; the others
        get None at once. The thread that takes a change up reads the files, which takes milliseconds.

        Warns:
            RuntimeWarning: the changed files cannot be used; once a change, with file and line.
        """
        if self._clock() < self._next_look or not self._lock.acquire(blocking=False):
            return None
        try:
            return self._look()
        finally:
            self._lock.release()

    def _look(self) -> Config | None:
        now = self._clock()
        if now < self._next_look:
            return None  # another thread has just looked
        self._next_look = now + self._every_s
        found = signature(self._folder)
        if found == self._done:
            self._seen = ()
            return None
        if found != self._seen:
            self._seen, self._seen_at = found, now
        if now - self._seen_at < self._settle_s:
            self._next_look = now + min(self._every_s, self._settle_s)
            return None
        return self._take_up(found)

    def _take_up(self, found: Signature) -> Config | None:
        from llmbench.config.load import load_config  # pydantic and YAML: only where files are read

        problem: Exception | None = None
        config: Config | None = None
        try:
            config = load_config(self._folder)
            if config.hash != self._hash and self._accept is not None:
                self._accept(config)
        except (ConfigError, OSError) as error:
            problem = error
        if signature(self._folder) != found:
            return None  # written while it was read; the next look sees the new signature
        self._done, self._seen = found, ()
        if problem is not None or config is None:
            message = f"the changed config files are not used, the earlier ones stay: {problem}"
            with contextlib.suppress(RuntimeWarning):  # also under -W error a call must not fail
                warnings.warn(message, RuntimeWarning, stacklevel=4)
            return None
        if config.hash == self._hash:
            return None
        self._hash = config.hash
        return config


def signature(folder: Path) -> Signature:
    """What tells one state of the folder's config files from another without reading them."""
    names = [(name, name.removesuffix(".yaml") + ".local.yaml") for name in FILES]
    return tuple(_state(folder / name) for pair in names for name in pair)


def _state(path: Path) -> tuple[str | int, ...]:
    try:
        facts = path.stat()
    except OSError as error:  # absent, or out of reach
        return path.name, error.errno or 0
    return path.name, facts.st_size, facts.st_mtime_ns, facts.st_ino
