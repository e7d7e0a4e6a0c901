"""The generated pages by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from llmbench.reference.commands import commands_page
from llmbench.reference.configuration import configuration_page
from llmbench.reference.marts import marts_page

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
    "marts.md": marts_page,
}


def write_pages(folder: Path) -> list[Path]:
    """Write every page; returns their paths."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
    return [folder / name for name in PAGES]
