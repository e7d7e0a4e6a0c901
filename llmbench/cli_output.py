"""What the verbs share: consoles, options, JSON and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
Configs = Annotated[Path, typer.Option("--configs", help="Config folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


def print_json(value: object) -> None:
    """Print a value as JSON for a machine."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Any) -> None:
    """Print rows as a table; every cell is text, not markup."""
    table = Table(*columns, header_style="bold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    wide = out if out.is_terminal else Console(width=1000, soft_wrap=True)  # a pipe has no edge to cut at
    wide.print(table)
