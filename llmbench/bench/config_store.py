"""Config files changed together: all of them or none, whatever happens in between.

The folder is locked while it is changed. A journal with the old and the new texts is written first; where a
process was killed between two files, the next one finds it and finishes what was begun.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.bench.decision_log import append_entry, has_entry
from llmbench.bench.patch import CHANGEABLE
from llmbench.bounded import MAX_CONFIG_BYTES, read_bytes, read_json
from llmbench.errors import ApplyError, ConfigError
from llmbench.own_files import open_new

JOURNAL_FILE: Final = ".llm_apply.json"
_PARTIAL: Final = ".llm_apply.partial"
#: Seconds to wait for another apply; it holds the lock for as long as its files take to write.
PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file's text before and after; None where there is no file."""

    name: str
    before: str | None
    after: str | None


def sha256_of(text: str | None) -> str | None:
    """The hash of a text as its file holds it, None for no file."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def read_configs(folder: Path) -> dict[str, str]:
    """Every YAML file of a config folder by its name below it, sweep plans too; each byte is kept.

    Raises:
        ConfigError: there is no such folder, or a file cannot be read or is not UTF-8.
    """
    if not folder.is_dir():
        raise ConfigError(f"no config folder at {folder}; create it or pass its path")
    texts = {}
    for path in sorted(path for found in ("*.yaml", "*.yml", "sweeps/*.yaml") for path in folder.glob(found)):
        name = path.relative_to(folder).as_posix()
        try:
            texts[name] = read_bytes(path, MAX_CONFIG_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"not UTF-8 text (byte {error.start}); save it as UTF-8", path=name) from error
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", path=name) from error
    return texts


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a config folder against every other apply; the lock ends with the process.

    Raises:
        ApplyError: another process holds it for longer than PATIENCE_S, or the folder cannot be locked.
    """
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ApplyError(f"{folder} cannot be locked: {error.strerror}") from error
    try:
        _lock(held, folder)
        yield
    finally:
        os.close(held)


def _lock(held: int, folder: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > give_up:
                raise ApplyError(f"another apply is changing {folder}; wait for it to end") from error
            time.sleep(_PAUSE_S)
        except OSError as error:
            raise ApplyError(f"{folder} cannot be locked: {error.strerror}") from error
        else:
            return


def has_journal(folder: Path) -> bool:
    """Whether an apply was broken off in this folder."""
    return (folder / JOURNAL_FILE).exists()


def write_all(folder: Path, changes: Sequence[FileChange], entry: Mapping[str, Any]) -> None:
    """Change every file and log it. The caller holds the lock and has proved the change.

    Raises:
        ApplyError: the journal cannot be written (nothing was changed), or a file cannot (the journal is
            kept, and the next apply goes on).
    """
    files = [
        {
            "name": each.name,
            "before": sha256_of(each.before),
            "after": sha256_of(each.after),
            "text": each.after,
        }
        for each in changes
    ]
    journal = {"schema": 1, "entry": dict(entry), "files": files}
    text = json.dumps(journal, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    try:
        _write(folder, folder / JOURNAL_FILE, text)
    except OSError as error:
        raise ApplyError(f"{folder} cannot be written: {error.strerror}; nothing was changed") from error
    _finish(folder, files, entry)


def recover(folder: Path) -> dict[str, Any] | None:
    """Finish an apply or an undo that was broken off; the line of the log that it made, None if none was.

    The caller holds the lock.

    Raises:
        ApplyError: a file was changed since, or the journal cannot be used.
    """
    path = folder / JOURNAL_FILE
    try:
        journal = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ApplyError(f"{path} cannot be read ({error}); see to the config files and remove it") from error
    files = _journaled(path, journal)
    now = {each["name"]: _present(folder / each["name"]) for each in files}
    for each in files:
        if now[each["name"]] not in (each["before"], each["after"]):
            raise ApplyError(
                f"{folder / each['name']} was changed after an apply was broken off; {path} holds the text "
                "that was to be written: set the file right by hand, then remove the journal"
            )
    _finish(folder, files, journal["entry"])
    return dict(journal["entry"])


def partials(folder: Path) -> list[Path]:
    """The files that a killed process left half-written, beside the config files or what they link to."""
    homes = {
        Path(os.path.realpath(folder / name)).parent for name in CHANGEABLE if (folder / name).is_symlink()
    }
    return [path for home in (folder, *sorted(homes)) if (path := home / _PARTIAL).exists()]


def clear_partials(folder: Path) -> None:
    """Remove them; the caller holds the lock, so that nobody is writing one.

    Raises:
        ApplyError: one cannot be removed.
    """
    for path in partials(folder):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ApplyError(f"{path} cannot be removed: {error.strerror}; remove it by hand") from error


def _journaled(path: Path, journal: Any) -> list[dict[str, Any]]:
    """The files of a journal, which may have been tampered with: it names no file but a changeable one."""
    is_whole = isinstance(journal, dict) and journal.get("schema") == 1
    files = journal.get("files") if is_whole else None
    entry = journal.get("entry") if is_whole else None
    if not isinstance(files, list) or not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise ApplyError(f"{path} is not a journal of an apply; look at the config files and remove it")
    for each in files:
        if not isinstance(each, dict) or each.get("name") not in CHANGEABLE or "before" not in each:
            raise ApplyError(f"{path} names a file that no apply changes; remove it")
        text = each.get("text")
        if not isinstance(text, str | None) or sha256_of(text) != each.get("after"):
            raise ApplyError(f"{path} holds a text that does not match its hash; remove it")
    return files


def _finish(folder: Path, files: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> None:
    try:
        for each in files:
            target = folder / each["name"]
            if _present(target) == each["after"]:
                continue
            if each["text"] is None:
                target.unlink()
            else:
                _write(folder, target, each["text"])
        if not has_entry(folder, str(entry["id"])):
            append_entry(folder, entry)
        (folder / _PARTIAL).unlink(missing_ok=True)
        (folder / JOURNAL_FILE).unlink()
        _sync(folder)
    except OSError as error:
        raise ApplyError(
            f"{error.filename or folder} cannot be written: {error.strerror}; {JOURNAL_FILE} is kept, and "
            "the next `llmbench apply` goes on from it"
        ) from error


def _present(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_bytes(path, MAX_CONFIG_BYTES)).hexdigest()
    except FileNotFoundError:
        return None


def _write(folder: Path, path: Path, text: str) -> None:
    """Write a file whole and onto the disk, with the rights of the one that it replaces.

    What a symbolic link leads to is replaced, not the link.
    """
    target = Path(os.path.realpath(path))
    partial = (folder if target.parent == Path(os.path.realpath(folder)) else target.parent) / _PARTIAL
    with open_new(partial) as file:
        file.write(text.encode())
        if target.exists():
            os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    """A rename is on the disk once its folder is."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
