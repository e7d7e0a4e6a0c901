"""Files of image and speech sweeps: in the folder `media` beside the ledger, named by what is in them.

A ledger's line names a file and its measured facts as one line of JSON. The name is the hash of the bytes, so
that equal files are kept once, and a file that was changed is found out. Names are checked wherever they are
read: a ledger may come from anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from llmbench.bounded import read_json
from llmbench.errors import SweepError
from llmbench.own_files import own_folder
from llmbench.routing.media_files import copy_whole, write_file

FOLDER: Final = "media"
_NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{3,4}")


def media_folder(ledger: Path) -> Path:
    """Where the files of a ledger's calls are; a run folder's `calls.jsonl` is such a ledger."""
    return ledger.parent / FOLDER


def store_file(folder: Path, data: bytes, suffix: str) -> str:
    """Keep bytes under the name of their hash, whole or not at all; the file's name.

    Args:
        folder: it is made where it is missing.
        data: the bytes.
        suffix: of the name, such as `.png`.

    Raises:
        SweepError: the file cannot be written, or the suffix is none.
    """
    name = checked_name(hashlib.sha256(data).hexdigest() + suffix)
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            write_file(path, data)
    except OSError as error:
        raise SweepError(f"{path} cannot be written: {error.strerror}; free some space") from error
    return name


def checked_name(name: object) -> str:
    """A file's name as a ledger may hold it.

    Raises:
        SweepError: it is none; a path would lead out of the folder.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise SweepError(
            f"{name!r:.100} is no name of a media file; the ledger's line is not ours, remove it"
        )
    return name


def whole_file(folder: Path, name: object) -> Path:
    """The path of a kept file, whose bytes are those that it was kept with.

    Raises:
        SweepError: the name is none, or the file is missing, unreadable or changed.
    """
    path = folder / checked_name(name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SweepError(
            f"{path} cannot be read ({error.strerror}), and a call of the ledger made it; bring the folder "
            f"{FOLDER}/ back beside the ledger, or remove the call's line from the ledger to make it again"
        ) from error
    if digest != path.stem:
        raise SweepError(
            f"{path} was changed or is damaged: its bytes are not those that its name tells; delete it and "
            "bring the kept one back, or remove the call's line from the ledger to make it again"
        )
    return path


def answer_of(output: str | None) -> dict[str, Any] | None:
    """The JSON of a media answer; None for any other text."""
    try:
        found = json.loads(output or "")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("media") in ("image", "speech") else None


def figure(answer: Mapping[str, Any], name: str) -> float:
    """A figure of an answer, which may hold anything: 0 where it is none, or below 0."""
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def with_path(output: str, folder: Path) -> str:
    """A media answer whose `file` is the path of the kept file, as scorers read it; other texts as they are.

    Raises:
        SweepError: the file is missing or changed, or its name is none.
    """
    answer = answer_of(output)
    if answer is None:
        return output
    return json.dumps({**answer, "file": str(whole_file(folder, answer.get("file")))}, ensure_ascii=False)


def remembered(path: Path, label: str, look: Callable[[], str]) -> str:
    """What a slow look at a kept file found, kept beside it as `<sha256>.<label>.json`.

    What is kept is believed only whole: it names the file, the label, and the hash of what was found. An
    empty or altered one is looked for again.

    Raises:
        LLMBenchError: as `look`.
    """
    kept = path.with_name(f"{path.stem}.{label}.json")
    if (known := _remembered(kept, path.stem, label)) is not None:
        return known
    found = look()
    mark = {"file": path.stem, "by": label, "sha256": _text_hash(found), "found": found}
    with contextlib.suppress(OSError, ValueError):  # it is looked at again the next time
        write_file(kept, (json.dumps(mark, ensure_ascii=False) + "\n").encode())
    return found


def _remembered(kept: Path, file: str, label: str) -> str | None:
    """What was found before; None where nothing whole of this file and this look is kept."""
    try:
        mark = read_json(kept)
    except (OSError, ValueError):
        return None
    if not isinstance(mark, dict) or (mark.get("file"), mark.get("by")) != (file, label):
        return None
    found = mark.get("found")
    return found if isinstance(found, str) and mark.get("sha256") == _text_hash(found) else None


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_answers(outputs: Iterable[str | None], folder: Path) -> list[Path]:
    """The files that answers name, each once.

    Raises:
        SweepError: a file is missing or changed, or a name is none.
    """
    answers = (answer for output in outputs if (answer := answer_of(output)) is not None)
    names = dict.fromkeys(checked_name(answer.get("file")) for answer in answers)
    return [whole_file(folder, name) for name in names]


def copy_answers(outputs: Iterable[str | None], source: Path, target: Path) -> None:
    """Copy the files of answers, and what was read or heard in them, into another folder.

    Raises:
        SweepError: a file is missing or changed, or cannot be written.
    """
    for whole in check_answers(outputs, source):
        found = [path for path in source.glob(f"{whole.stem}.*.json") if not path.is_symlink()]
        for path in (whole, *found):  # a link could bring any file of this machine into what is shared
            _copy(path, target / path.name)


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        own_folder(target.parent)
        copy_whole(source, target)
    except OSError as error:
        raise SweepError(f"{target} cannot be written: {error.strerror}; free some space") from error


def as_line(facts: Mapping[str, Any]) -> str:
    """A media answer as the one line of JSON that the ledger holds.

    Raises:
        ValueError: a figure is no number.
    """
    return json.dumps(facts, ensure_ascii=False, allow_nan=False)
