"""The keys of one provider: the first that works is used; one that was refused rests for a while."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from llmbench.errors import ErrorKind

#: Seconds that a refused key is left alone: the users' choice is about the order of keys, not a schedule.
REST_S: Final = 600.0
#: What speaks against the key, and not against the request or the host.
KEY_REFUSALS: Final[frozenset[ErrorKind]] = frozenset({"auth", "quota"})


@dataclass(frozen=True)
class Key:
    """One key: the variable it came from, and its value, which no repr shows."""

    name: str
    value: str = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """What a log may show of it: the first four hex digits of its SHA-256."""
        return f"key#{hashlib.sha256(self.value.encode('utf-8', 'replace')).hexdigest()[:4]}"

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.name})"


class KeyRing:
    """The set keys of one provider in the order of the config. Safe between threads."""

    def __init__(
        self, keys: Iterable[Key], rest_s: float = REST_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = tuple(keys)
        self._rest_s = rest_s
        self._clock = clock
        self._guard = threading.Lock()
        self._rests_until: dict[str, float] = {}  # by value: one key under two names is one key

    def __len__(self) -> int:
        return len(self._keys)

    def pick(self) -> Key | None:
        """The first key that does not rest; the one whose rest ends first when all do; None without a key."""
        if not self._rests_until:  # nothing was ever refused
            return self._keys[0] if self._keys else None
        with self._guard:
            now = self._clock()
            rests = [self._rests_until.get(key.value, now) - now for key in self._keys]
        awake = (index for index, left_s in enumerate(rests) if left_s <= 0)
        return self._keys[next(awake, rests.index(min(rests)))]

    def awake(self) -> int:
        """How many different keys do not rest."""
        with self._guard:
            now = self._clock()
            values = {key.value for key in self._keys}
            return sum(self._rests_until.get(value, now) <= now for value in values)

    def back_in_s(self) -> float:
        """Seconds until a key is ready: 0 where one is, or where there is none."""
        with self._guard:
            now = self._clock()
            return max(min((self._rests_until.get(key.value, now) - now for key in self._keys), default=0), 0)

    def note(self, key: Key, kind: ErrorKind) -> bool:
        """Learn of a failed attempt. True when it puts one of several different keys to rest."""
        if kind not in KEY_REFUSALS:
            return False
        with self._guard:
            self._rests_until[key.value] = self._clock() + self._rest_s
        return any(other.value != key.value for other in self._keys)
