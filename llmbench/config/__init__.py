"""configs/*.yaml -> Config: read, overlaid, checked, frozen."""

from __future__ import annotations

from llmbench.config.environment import Environment, read_environment
from llmbench.config.load import inspect_config, load_config
from llmbench.config.model import Config, Finding, Override, Slot, TaskRule

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
