"""Logs of Inspect on disk: looked over before they are read, then read a few samples at a time.

A log comes from somebody else. Inspect's reader unpacks whatever a member holds, so that every member is
unpacked once before, in pieces and counted: what would fill the memory is refused here.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import ijson  # type: ignore[import-untyped]  # Inspect's own JSON reader, for its errors
import zstandard
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples_by_id,
)

from llmbench.errors import DatasetError
from llmbench.interop.nesting import Nesting

#: The largest member of an .eval file, the largest .json file, and all members together, unpacked.
MAX_MEMBER_BYTES: Final = 128 * 2**20
MAX_JSON_BYTES: Final = 64 * 2**20
MAX_TOTAL_BYTES: Final = 32 * 2**30
#: Samples in memory at a time.
_CHUNK: Final = 32
#: Bytes asked of a decompressor at a time: Zstandard gives all that a piece of this size holds.
_PIECE: Final = 4096
#: How deep a member's JSON may be nested.
_DEEPEST: Final = 200
#: Fields of a sample that hold its conversation: they are long, and no row has them.
_UNREAD: Final = frozenset({"messages", "events", "events_data", "store", "attachments", "timelines"})
#: What broken files make of the readers below.
_BROKEN: Final = (
    *(ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, zstandard.ZstdError, ijson.JSONError),
)


def log_files(sources: Sequence[Path]) -> list[Path]:
    """The logs that were named; of a folder, every .eval file in it.

    Raises:
        DatasetError: there is no such file or folder, it is no log, or a folder has none.
    """
    found: list[Path] = []
    for source in sources:
        inside = sorted(source.glob("*.eval")) if source.is_dir() else [source]
        if not inside:
            raise DatasetError(
                f"{source}: no .eval file in this folder; name the folder of inspect's --log-dir"
            )
        found += inside
    for path in found:
        if not path.is_file():
            raise DatasetError(
                f"{path}: no such file or folder; name a log that `inspect eval` wrote, or the folder of its "
                "--log-dir"
            )
        if path.suffix not in (".eval", ".json"):
            raise DatasetError(f"{path}: a log of Inspect ends in .eval or .json")
    return list(dict.fromkeys(found))


def read_log(path: Path) -> tuple[EvalLog, Iterator[EvalSample]]:
    """A log's header, and its samples one after the other, after the whole file was looked over.

    An .eval log is read a few samples at a time and without their conversations, a .json log at once.

    Raises:
        DatasetError: the file cannot be read, is broken, or is larger than any log should be; a sample that
            is broken raises it when it is reached.
    """
    _look_over(path)
    if path.suffix == ".json":
        log: EvalLog = _read(path, read_eval_log, str(path))
        return log, iter(log.samples or ())
    return _read(path, read_eval_log, str(path), header_only=True), _samples(path)


def _samples(path: Path) -> Iterator[EvalSample]:
    known = [(one.id, one.epoch) for one in _read(path, read_eval_log_sample_summaries, str(path))]
    for start in range(0, len(known), _CHUNK):
        chunk = known[start : start + _CHUNK]
        yield from _read(
            path, read_eval_log_samples_by_id, str(path), chunk, exclude_fields=set(_UNREAD), concurrency=1
        )


def _read(path: Path, reader: Any, *args: Any, **options: Any) -> Any:
    """What one of Inspect's readers returns.

    Raises:
        DatasetError: it fails.
    """
    try:
        return reader(*args, **options)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    except _BROKEN as error:
        raise DatasetError(_broken(path, error)) from error


def _look_over(path: Path) -> None:
    try:
        size = path.stat().st_size
        if path.suffix == ".json":
            if size > MAX_JSON_BYTES:
                raise DatasetError(
                    f"{path}: {_mib(size)} as one text, over {_mib(MAX_JSON_BYTES)}; "
                    "`inspect log convert --to eval` makes a log that is read sample by sample"
                )
            return
        with zipfile.ZipFile(path) as packed:
            _unpack(path, packed)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    except _BROKEN as error:
        raise DatasetError(_broken(path, error)) from error


def _unpack(path: Path, packed: zipfile.ZipFile) -> None:
    """Unpack every member once and keep nothing.

    Raises:
        DatasetError: a member, or all together, are too large.
        zipfile.BadZipFile: a member is not what its entry says, or nested deeper than any log.
    """
    total = 0
    for entry in packed.infolist():
        declared, entry.file_size = entry.file_size, MAX_MEMBER_BYTES + 1  # its true size, whatever it says
        size, nesting = 0, Nesting()
        with packed.open(entry) as member:
            while piece := member.read(_PIECE):
                size += len(piece)
                if nesting.add(piece) > _DEEPEST:
                    raise zipfile.BadZipFile(f"{entry.filename!r:.80} is nested over {_DEEPEST} levels deep")
                if size > MAX_MEMBER_BYTES or total + size > MAX_TOTAL_BYTES:
                    raise DatasetError(_too_large(path, entry.filename))
        if size != declared:
            raise zipfile.BadZipFile(f"{entry.filename!r:.80} is {size} bytes and says {declared}")
        total += size


def _too_large(path: Path, member: str) -> str:
    return (
        f"{path}: {member!r:.80} unpacks to more than {_mib(MAX_MEMBER_BYTES)}, or the file to more than "
        f"{_mib(MAX_TOTAL_BYTES)}; no log is so large: get it from its source again"
    )


def _broken(path: Path, error: BaseException) -> str:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return (
        f"{path} is no whole log of Inspect ({said}); `inspect log recover` may repair one that was cut off"
    )


def _mib(size: int) -> str:
    return f"{size // 2**20:,} MiB"
