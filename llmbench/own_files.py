"""Files and folders of ours in a folder that somebody else may have made: no link in it leads a write away.

A run folder can come from a stranger. A rename replaces a link and not what it leads to, so files are written
beside their place and moved there; what is left is the name that is written to, and the folders in between.
What would lead away is an OSError, as a place that cannot be written is.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO


def open_new(path: Path) -> BinaryIO:
    """Open a file to write that was not there: what has its name is removed, a link and not what it leads to.

    Raises:
        OSError: it cannot be made.
    """
    if os.path.lexists(path):
        path.unlink()
    return path.open("xb")


def own_folder(folder: Path) -> Path:
    """A folder that is one and no link to another; it is made where it is missing.

    Raises:
        OSError: it cannot be made; with errno ELOOP where it is a link.
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "is a link to another place; remove it, it is made anew", str(folder))
    folder.mkdir(exist_ok=True)
    return folder


def write_beside(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a link at its place is replaced, and not what it leads to.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open_new(partial) as file:
            file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
