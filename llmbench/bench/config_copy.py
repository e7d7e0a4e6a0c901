"""Config files as they would be, in a temporary folder that a router can load.

Its process holds a lock on it: what no process holds was left by one that was killed, and the next apply
clears it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmbench.config import Config, load_config

_PREFIX: Final = "llmbench-apply-"
#: A copy so young may belong to a process that has made it and not locked it yet.
_YOUNG_S: Final = 60.0


@contextmanager
def folder_of(texts: Mapping[str, str]) -> Iterator[Path]:
    """A temporary project whose `configs` folder holds these texts."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as root:
        held = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            configs = Path(root) / "configs"
            (configs / "sweeps").mkdir(parents=True)
            for name, text in texts.items():
                (configs / name).write_bytes(text.encode())
            yield Path(root)
        finally:
            os.close(held)


def load_texts(texts: Mapping[str, str]) -> Config:
    """The config of a folder with these texts.

    Raises:
        ConfigError: it cannot be loaded.
    """
    with folder_of(texts) as root:
        return load_config(root / "configs")


def clear_copies() -> None:
    """Remove the copies that killed processes of this user left; what cannot be removed stays."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            _clear(path)


def _clear(path: Path) -> None:
    """Remove one copy, unless it is another user's, a link, young, or held.

    Raises:
        OSError: it cannot be opened, or a process holds it.
    """
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(held)
        if facts.st_uid == os.getuid() and time.time() - facts.st_mtime > _YOUNG_S:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
    finally:
        os.close(held)
