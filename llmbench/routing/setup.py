"""One loaded config with everything opened for it: what a reload replaces as a whole.

A call keeps the setup that it began with to its end, so that no call sees two configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmbench.catalog import ModelSpec, Wire
from llmbench.config.environment import Environment
from llmbench.config.model import Config
from llmbench.providers.hosts import Host, open_host
from llmbench.providers.send import speaks
from llmbench.routing.breaker import Circuits
from llmbench.routing.lessons import Lessons


@dataclass(frozen=True, slots=True)
class Setup:
    """Config, hosts by provider name, open circuits, and what hosts refused."""

    config: Config
    environment: Environment
    hosts: Mapping[str, Host]
    circuits: Circuits | None
    lessons: Lessons = field(default_factory=Lessons)

    def secrets(self) -> list[str]:
        """The values of every key variable that the config names."""
        names = [name for endpoint in self.config.endpoints.values() for name in endpoint.env_api_keys]
        return [value for name in names if (value := self.environment.secret(name))]

    def spec(self, key: str, wire: Wire | None = None) -> ModelSpec:
        """A model, on the wire that the call forces where its provider serves it there."""
        found = self.config.models[key]
        return found if wire is None else found.on_wire(wire)

    def unreachable(self, spec: ModelSpec, wire: Wire | None = None) -> str | None:
        """Why a model cannot be called at all, or None."""
        host = self.hosts.get(spec.provider)
        if wire is not None and spec.on_wire(wire).wire != wire:
            return f"{spec.provider} does not serve it on the wire {wire!r}, which the call forces"
        if not speaks(spec):
            return f"this version does not speak its wire {spec.wire!r}"
        if host is None:
            return f"provider {spec.provider} is not in llm_router.yaml"
        if host.is_reachable(spec):
            return None
        endpoint = self.config.endpoints.get(spec.provider)
        if endpoint is None or endpoint.managed == "embedded":
            return f"{spec.model_id} is not installed (llmbench models pull)"
        named = [*endpoint.env_api_keys, *([endpoint.env_endpoint] if endpoint.env_endpoint else [])]
        return f"no key or address for provider {spec.provider}: set {' or '.join(named)}"


def open_setup(config: Config, environment: Environment, hosts: Mapping[str, Host]) -> Setup:
    """Open the hosts of a config; those in `hosts` take the place of what it describes.

    Raises:
        ConfigError: a provider's address cannot be used.
    """
    opened = {name: open_host(endpoint, environment) for name, endpoint in config.endpoints.items()}
    breaker = config.policy.breaker
    return Setup(config, environment, {**opened, **hosts}, None if breaker is None else Circuits(breaker))
