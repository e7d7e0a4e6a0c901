"""A ledger that machines without a shared folder share: a copy in an object store (fsspec's addresses).

What the store has and this machine lacks is taken over before a sweep; the ledger, and the headers declared
beside it, are copied there once a minute and at the end. Equal lines are one, so that nothing is lost and
nothing stands twice. An object store has no locks: one sweep at a time may use a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llmbench.bench.headers import HEADERS_FILE
from llmbench.errors import SweepError
from llmbench.jsonl import JsonlLine, JsonlWriter, read_jsonl

#: Seconds between two copies while a sweep runs.
EVERY_S: Final = 60.0


@contextlib.contextmanager
def stored_ledger(url: str, ledger: Path) -> Iterator[None]:
    """Keep a ledger in a store as long as the block runs.

    Args:
        url: the address of a folder, such as `s3://bucket/sweeps`; its scheme may need a package of its own
            (s3fs).
        ledger: the local ledger; it may be missing.

    Raises:
        SweepError: the store cannot be used. At the end the local ledger has everything all the same.
    """
    store, files = _Store(url), (ledger, ledger.with_name(HEADERS_FILE))
    for file in files:
        store.take_over(file)
    ended = threading.Event()

    def copy() -> None:
        while not ended.wait(EVERY_S):
            with contextlib.suppress(SweepError):  # the next copy, or the last one, tells
                for file in files:
                    store.put(file)

    thread = threading.Thread(target=copy, name="llmbench-ledger-store", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for file in files:
            store.take_over(file)
            store.put(file)


class _Store:
    """One folder, by fsspec; every error is a SweepError that names it."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            import fsspec
        except ModuleNotFoundError as error:
            raise SweepError(f'the ledger store {url} needs fsspec: pip install "llmbench[dask]"') from error
        with self._errors():
            self._fs, self._path = fsspec.core.url_to_fs(url)  # type: ignore[no-untyped-call]

    def take_over(self, file: Path) -> None:
        """Append the lines that the store has and the local file lacks."""
        with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
            copy, there = Path(folder) / file.name, f"{self._path.rstrip('/')}/{file.name}"
            with self._errors():
                if not self._fs.exists(there):
                    return
                self._fs.get_file(there, str(copy))
            known = {_identity(line) for line in read_jsonl(file)} if file.exists() else set()
            with contextlib.closing(JsonlWriter(file)) as writer:
                for line in read_jsonl(copy):
                    if line.record is not None and _identity(line) not in known:
                        writer.append(line.record)

    def put(self, file: Path) -> None:
        """Copy a local file into the store."""
        if file.exists():
            with self._errors():
                self._fs.makedirs(self._path, exist_ok=True)
                self._fs.put_file(str(file), f"{self._path.rstrip('/')}/{file.name}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise SweepError(
                f"the ledger store {self._url} cannot be used: {said}; give an address that fsspec knows"
            ) from error


def _identity(line: JsonlLine) -> bytes:
    return hashlib.sha256(line.raw.strip()).digest()
