"""Files of media calls: written whole or not at all, each with a record of how it was made beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmbench.errors import ParamError
from llmbench.messages import Request, Response
from llmbench.telemetry import utc_now

#: The ending of the record beside a file.
RECORD_SUFFIX = ".json"
#: Room in a name for the number of one picture of several.
_NUMBER = "-999"


def check_target(out: str | Path, name: str = "out") -> Path:
    """The path of a file to be written, checked before anything is paid for.

    Args:
        out: the file.
        name: the parameter that names it, for the errors.

    Raises:
        ParamError: its folder cannot be made or written to, its name is too long, or it is a folder itself.
    """
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not path.name:
            raise ParamError(f"{name}: {path} is a folder; give the name of a file")
        with contextlib.suppress(FileNotFoundError):
            _record_path(path.with_name(path.name + _NUMBER)).lstat()  # a name that is too long, or none
        is_open = os.access(path.parent, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ParamError(f"{name}: {str(path)!r} cannot be written: {said}") from error
    if not is_open:
        raise ParamError(f"{name}: the folder {path.parent} is not writable; choose another one")
    return path


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + RECORD_SUFFIX)


def write_with_record(path: Path, data: bytes, record: Mapping[str, Any]) -> None:
    """Write a file and its record; each is there whole or not at all, the record last.

    Raises:
        OSError: one of them cannot be written.
    """
    write_file(path, data)
    write_record(path, record)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    _place(path, lambda partial: partial.write_bytes(data))


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file to its place, whole or not at all; the two may lie on different disks.

    Raises:
        OSError: it cannot be written.
    """
    _place(path, lambda partial: shutil.copyfile(source, partial))


def _place(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside a file's place under a name of its own, then move it there."""
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a file that is there.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, indent=2, default=str) + "\n"
    write_file(_record_path(path), text.encode("utf-8", "backslashreplace"))


def not_written(path: Path, error: OSError) -> str:
    """What is said of a file that could not be written after all was paid for."""
    return f"out: {path} cannot be written: {error.strerror or error}"


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Plain data without secrets in any text of it, at any depth; its keys are a host's texts too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            redact(key) if isinstance(key, str) else key: redacted(item, redact)
            for key, item in value.items()
        }
    return [redacted(item, redact) for item in value] if isinstance(value, (list, tuple)) else value


def record_of(
    request: Request,
    response: Response,
    options: Mapping[str, Any],
    references: int,
    data_sha256: str,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """How a file was made: the ask with its text, the model, the cost, and what was changed on the way.

    Args:
        request: the call.
        response: what came of it.
        options: the canonical options that held for it, those of its task and its model included.
        references: how many pictures it was to go by.
        data_sha256: the hash of the file.
        facts: what else is known of the file.
    """
    return {
        "schema": 1,
        "made_at": utc_now(),
        "call_id": response.call_id,
        "task": request.task,
        "tier": response.tier,
        "model": response.model,
        "model_id": response.model_id,
        "model_version": response.model_version,
        "provider": response.provider,
        "prompt": request.messages[0].content,
        "options": dict(options),
        "references": references,
        "adjustments": [change.as_dict() for change in response.adjustments],
        "cost_usd": response.cost_usd,
        "cost_source": response.cost_source,
        "latency_ms": round(response.latency_ms, 3),
        "sha256": data_sha256,
        **facts,
    }


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
