"""Files that somebody else wrote, read within a size: what is larger is refused before it fills the memory.

What is too large is an OSError, as a file that cannot be read is: who reads a file has words for that.
"""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from typing import Any, Final

#: A file that a person writes: configs, plans, cards, rules. The largest shipped one has 40 KiB.
MAX_CONFIG_BYTES: Final = 16 * 2**20
#: A file that a program writes as one document: plans and recommendations of a run, notebooks, exports.
MAX_DOCUMENT_BYTES: Final = 256 * 2**20
#: One line of JSON lines. A reply has 32 MiB at most, and a ledger's line holds one with its prompt.
MAX_LINE_BYTES: Final = 64 * 2**20


def read_bytes(path: Path, most: int = MAX_DOCUMENT_BYTES) -> bytes:
    """A whole file of at most so many bytes.

    Raises:
        OSError: it cannot be read; with errno EFBIG where it is larger. Also a device without an end is.
    """
    with path.open("rb") as file:
        is_over = os.fstat(file.fileno()).st_size > most  # a device tells no size
        data = b"" if is_over else file.read(most + 1)
    if is_over or len(data) > most:
        raise OSError(errno.EFBIG, f"over {most // 2**20} MiB, which no such file is", str(path))
    return data


def read_text(path: Path, most: int = MAX_CONFIG_BYTES) -> str:
    """A whole file as text, UTF-8, each kind of line end as a line feed.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding="utf-8").read()


def read_json(path: Path, most: int = MAX_DOCUMENT_BYTES) -> Any:
    """The JSON value in a file.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str | bytes) -> Any:
    """The JSON value of a text; where `json.loads` runs out of stack this is a ValueError too.

    Raises:
        ValueError: it is not JSON, holds a number too long to be one, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
