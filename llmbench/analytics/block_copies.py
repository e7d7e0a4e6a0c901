"""A folder for copies of log blocks: in memory where there is room, and gone with its process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from llmbench.errors import WarehouseError

_PREFIX: Final = "llmbench-load-"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a tmpfs where there is one; names are made by tempfile
#: Free bytes below which shared memory is left to others: Docker gives 64 MB.
_ROOM: Final = 1 << 30


@contextmanager
def copies_folder() -> Iterator[Path]:
    """A new folder that only this process uses; what killed processes left behind is removed.

    Raises:
        WarehouseError: no folder can be made, or the disk is full.
    """
    place = _place()
    _sweep(place)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place) as name,
            (Path(name) / "lock").open("wb") as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
    except OSError as error:
        reason = error.strerror or "cannot be written"
        raise WarehouseError(f"{place}: {reason}; loading needs 400 MB there, or set TMPDIR") from error


def _place() -> Path:
    """Shared memory where it can be written to and has room, else the folder for temporary files."""
    if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        room = os.statvfs(_SHARED_MEMORY)
        if room.f_bavail * room.f_frsize >= _ROOM:
            return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _sweep(place: Path) -> None:
    """Remove the folders whose process is gone: nobody holds their lock."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
