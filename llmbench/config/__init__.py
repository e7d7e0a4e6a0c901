"""configs/*.yaml -> Config: read, overlaid, checked, frozen.

The loader brings pydantic and YAML along, so it is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmbench.config.environment import Environment, read_environment
from llmbench.config.model import Config, Finding, Override, Slot, TaskRule

if TYPE_CHECKING:
    from llmbench.config.load import inspect_config, load_config

__all__ = [
    "Config",
    "Environment",
    "Finding",
    "Override",
    "Slot",
    "TaskRule",
    "inspect_config",
    "load_config",
    "read_environment",
]


def __getattr__(name: str) -> Any:
    """Load the loader on first use (PEP 562)."""
    if name in ("inspect_config", "load_config"):
        from llmbench.config import load

        return getattr(load, name)
    raise AttributeError(f"module 'llmbench.config' has no attribute {name!r}")
