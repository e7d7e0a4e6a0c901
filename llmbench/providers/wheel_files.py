"""Large files that arrive in PyPI wheels: found, joined, checked.

They are located through the installed packages' metadata and never imported. A file that comes in several
wheels is joined once, into a folder of the cache. The whole file is hashed once; later only its size and
modification time are compared with the marker that the first check left beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a model, as the package index names it.

    Attributes:
        distribution: the package's name.
        version: the pinned version.
        sha256: hash of the wheel file, as pip checks it.
    """

    distribution: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """This wheel as one line of a pip requirements file."""
        return f"{self.distribution}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One pinned file and the wheels that carry it.

    Attributes:
        name: what the file is called in errors, markers and locks.
        file_name: its name once its parts are joined.
        wheels: the wheels that carry it.
        parts: its pieces in joining order, as paths inside the wheels.
        sha256: hash of the whole file.
        size_bytes: its length.
        pull_command: what a person runs to get it, or to get it anew.
    """

    name: str
    file_name: str
    wheels: tuple[Wheel, ...]
    parts: tuple[str, ...]
    sha256: str
    size_bytes: int
    pull_command: str


def find_file(pinned: WheelFile, folder: Path) -> Path:
    """Path of the verified file.

    Joining is done by one process at a time and in one step: a killed run leaves nothing half-written.

    Args:
        pinned: the file.
        folder: where joined files, markers and locks are kept.

    Raises:
        EmbeddedServerError: it is not installed, or it is not the pinned one.
    """
    try:
        if len(pinned.parts) > 1:
            return _joined_file(pinned, folder)
        (path,) = installed_parts(pinned)
        _verify(pinned, path, folder)
        return path
    except OSError as error:
        raise EmbeddedServerError(
            f"{pinned.name}: the model file cannot be read or written ({error}): "
            f"check {folder} and its free space ({pinned.size_bytes // 10**6} MB)"
        ) from error


def is_here(pinned: WheelFile, folder: Path) -> bool:
    """Whether the file is on this machine. A quick look: nothing is hashed or joined."""
    joined = folder / pinned.file_name
    if joined.is_file() and joined.stat().st_size == pinned.size_bytes:
        return True
    return all(path is not None and path.is_file() for path in _part_paths(pinned))


def _part_paths(pinned: WheelFile) -> list[Path | None]:
    """Where the installed packages hold each part; None for a part whose package is not installed.

    Read from the packages' metadata: importing them would import their own dependencies.
    """
    from importlib import metadata  # slow to import, and not needed once a server runs

    found: dict[str, Path] = {}
    for wheel in pinned.wheels:
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(wheel.distribution) or ():
                if str(file) in pinned.parts:
                    found[str(file)] = Path(str(file.locate()))
    return [found.get(part) for part in pinned.parts]


def installed_parts(pinned: WheelFile) -> list[Path]:
    """Where the parts lie in the installed packages.

    Raises:
        EmbeddedServerError: not all of them are here.
    """
    paths = [path for path in _part_paths(pinned) if path is not None and path.is_file()]
    if len(paths) < len(pinned.parts):
        raise EmbeddedServerError(f"{pinned.name} is not installed: run `{pinned.pull_command}`")
    return paths


def _joined_file(pinned: WheelFile, folder: Path) -> Path:
    path = folder / pinned.file_name
    if _is_marked(pinned, path, folder):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder / f"{pinned.name}.lock"):
        if not path.is_file() or not _is_intact(pinned, path, folder):
            _join(installed_parts(pinned), path)
        _verify(pinned, path, folder)
    return path


def _join(parts: Iterable[Path], path: Path) -> None:
    """Write the parts one after the other beside `path`, then put the result in its place at once."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as joined:
        for part in parts:
            joined.write(part.read_bytes())
        joined.flush()
        os.fsync(joined.fileno())
    partial.replace(path)


def _verify(pinned: WheelFile, path: Path, folder: Path) -> None:
    """Raise EmbeddedServerError unless the file is the pinned one."""
    if not _is_intact(pinned, path, folder):
        raise EmbeddedServerError(
            f"{pinned.name}: {path.name} is damaged (its SHA-256 is not the pinned one): "
            f"run `{pinned.pull_command}`"
        )


def _is_intact(pinned: WheelFile, path: Path, folder: Path) -> bool:
    if _is_marked(pinned, path, folder):
        return True
    if path.stat().st_size != pinned.size_bytes:
        return False
    import hashlib

    mark = _mark(pinned, path)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != pinned.sha256:
            return False
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{pinned.name}.verified.{os.getpid()}"
    partial.write_text(json.dumps(mark), encoding="utf-8")
    partial.replace(folder / f"{pinned.name}.verified")
    return True


def _is_marked(pinned: WheelFile, path: Path, folder: Path) -> bool:
    """Whether the marker of an earlier full check still describes this very file."""
    try:
        recorded = json.loads((folder / f"{pinned.name}.verified").read_text(encoding="utf-8"))
        return bool(recorded == _mark(pinned, path))
    except (OSError, ValueError):
        return False


def _mark(pinned: WheelFile, path: Path) -> dict[str, Any]:
    size_bytes, mtime_ns = path.stat().st_size, path.stat().st_mtime_ns
    return {"path": str(path), "sha256": pinned.sha256, "size_bytes": size_bytes, "mtime_ns": mtime_ns}


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold a lock file against other processes. Without flock, every process does the work itself."""
    with lock.open("ab") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
