"""The part of a request's path that every wire at an Azure OpenAI resource has in common. Pure.

Source: Azure's reference. A dated API version stands in the query of paths below /openai; the paths below
/openai/v1 take none. The versions `v1` and `preview` belong to the latter.
"""

from __future__ import annotations

import re
from typing import Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ConfigError

_DATED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?")
_UNDATED: Final = frozenset({"v1", "preview"})


def is_plain(endpoint: Endpoint) -> bool:
    """Whether paths are as at any other host: no Azure resource, or an address that ends in /v1."""
    return endpoint.type != "azure" or _address(endpoint).endswith("/v1")


def dated_version(spec: ModelSpec, endpoint: Endpoint) -> str | None:
    """The dated API version that a model is asked in, or None for the v1 path.

    Raises:
        ConfigError: the version is neither a date nor `v1` or `preview`.
    """
    version = spec.api_version or endpoint.api_version
    if version is None or version in _UNDATED:
        return None
    if _DATED.fullmatch(version) is None:
        message = f"model {spec.key!r}: api_version {version!r} is no version of Azure's API; "
        raise ConfigError(f"{message}write v1, or a date as in 2024-10-21 or 2025-04-01-preview")
    return version


def below_openai(endpoint: Endpoint, path: str) -> str:
    """The path below /openai, which the address may end in already."""
    return path if _address(endpoint).endswith("/openai") else f"/openai{path}"


def _address(endpoint: Endpoint) -> str:
    return (endpoint.base_url or "").rstrip("/")
