"""Where the verbs that read telemetry find it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    from llmbench.analytics.warehouse import Warehouse


@contextmanager
def telemetry_warehouse(
    logs: Sequence[str],
    store: Path | None,
    archive: Path | None,
    project: Path,
    *,
    is_needed: bool = True,
    **options: Any,
) -> Iterator[Warehouse]:
    """The telemetry that a verb asks for: logs, else the store, else the project's own log.

    Logs go through a store of their own that is removed afterwards: a large one does not fill the memory.

    Raises:
        WarehouseError: nothing is there to be read, and it is needed; or logs and a store are both named.
    """
    from llmbench.analytics.telemetry_store import DEFAULT_STORE, load_store
    from llmbench.analytics.warehouse import open_warehouse
    from llmbench.telemetry import DEFAULT_LOG_PATH

    if logs and store is not None:
        raise WarehouseError("--log and --store are two places of the same calls: give one of them")
    kept = store
    if not logs and store is None and (project / DEFAULT_STORE).exists():
        kept = project / DEFAULT_STORE
    if not logs and kept is None and archive is None:
        own = project / DEFAULT_LOG_PATH
        logs = [str(own)] if is_needed or own.exists() else []
    if not logs:
        with open_warehouse(store=kept, archive=archive, **options) as warehouse:
            yield warehouse
        return
    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        read = Path(folder) / "usage.duckdb"
        load_store(read, logs)
        with open_warehouse(store=read, archive=archive, **options) as warehouse:
            yield warehouse
