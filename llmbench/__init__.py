"""Route LLM tasks to tiers of models, and decide with evidence which model belongs in which tier.

The public names below load their modules when first used, so that importing llmbench stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmbench.bench.applied import Applied as Applied
    from llmbench.bench.apply import apply_recommendation as apply_recommendation
    from llmbench.bench.decide import decide as decide
    from llmbench.bench.decision import Decision as Decision
    from llmbench.bench.undo import undo_apply as undo_apply
    from llmbench.config import Config as Config
    from llmbench.config import load_config as load_config
    from llmbench.errors import ApplyError as ApplyError
    from llmbench.errors import BenchError as BenchError
    from llmbench.errors import BudgetExceeded as BudgetExceeded
    from llmbench.errors import ConfigError as ConfigError
    from llmbench.errors import DatasetError as DatasetError
    from llmbench.errors import EmbeddedServerError as EmbeddedServerError
    from llmbench.errors import FallbackExhausted as FallbackExhausted
    from llmbench.errors import LLMBenchError as LLMBenchError
    from llmbench.errors import NotebookError as NotebookError
    from llmbench.errors import ParamError as ParamError
    from llmbench.errors import ProviderError as ProviderError
    from llmbench.errors import RouteError as RouteError
    from llmbench.errors import SweepError as SweepError
    from llmbench.errors import UnsavedError as UnsavedError
    from llmbench.errors import WarehouseError as WarehouseError
    from llmbench.media import Image as Image
    from llmbench.media import ImageResponse as ImageResponse
    from llmbench.media import SpeechResponse as SpeechResponse
    from llmbench.messages import Message as Message
    from llmbench.messages import Response as Response
    from llmbench.messages import Route as Route
    from llmbench.messages import Usage as Usage
    from llmbench.routing.client import LLMClient as LLMClient
    from llmbench.routing.image_client import ImageClient as ImageClient
    from llmbench.routing.speech_client import SpeechClient as SpeechClient

__version__ = "0.1.0"

_HOMES = {
    "Applied": "llmbench.bench.applied",
    "apply_recommendation": "llmbench.bench.apply",
    "undo_apply": "llmbench.bench.undo",
    "Decision": "llmbench.bench.decision",
    "decide": "llmbench.bench.decide",
    "Config": "llmbench.config",
    "load_config": "llmbench.config",
    "LLMClient": "llmbench.routing.client",
    "ImageClient": "llmbench.routing.image_client",
    "SpeechClient": "llmbench.routing.speech_client",
    "Image": "llmbench.media",
    "ImageResponse": "llmbench.media",
    "SpeechResponse": "llmbench.media",
    "Message": "llmbench.messages",
    "Response": "llmbench.messages",
    "Route": "llmbench.messages",
    "Usage": "llmbench.messages",
    "LLMBenchError": "llmbench.errors",
    "ConfigError": "llmbench.errors",
    "RouteError": "llmbench.errors",
    "ParamError": "llmbench.errors",
    "ProviderError": "llmbench.errors",
    "FallbackExhausted": "llmbench.errors",
    "EmbeddedServerError": "llmbench.errors",
    "ApplyError": "llmbench.errors",
    "BenchError": "llmbench.errors",
    "DatasetError": "llmbench.errors",
    "SweepError": "llmbench.errors",
    "NotebookError": "llmbench.errors",
    "WarehouseError": "llmbench.errors",
    "BudgetExceeded": "llmbench.errors",
    "UnsavedError": "llmbench.errors",
}
__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605 -- the names stand once, in _HOMES


def __getattr__(name: str) -> Any:
    """Load the module behind a public name on first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'llmbench' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
