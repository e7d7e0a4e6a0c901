"""A folder for copies of log blocks: in memory where there is room, and gone with its process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

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
        folder, lock = _locked_folder(place)
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
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


def _locked_folder(place: Path) -> tuple[Path, IO[bytes]]:
    """A new folder and its lock, which is held.

    Until then another process may take the folder for a dead one's and remove it: then one more is made.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        lock = (folder / "lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "lock").exists():
            return folder, lock
        lock.close()


def _sweep(place: Path) -> None:
    """Remove the folders whose process is gone: nobody holds their lock."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
