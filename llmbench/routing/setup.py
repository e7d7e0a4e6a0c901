"""One loaded config with everything opened for it: what a reload replaces as a whole.

A call keeps the setup that it began with to its end, so that no call sees two configs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from llmbench.catalog import Breaker, Endpoint, ModelSpec, Policy, Wire
from llmbench.config.environment import Environment
from llmbench.config.key_names import is_key_header
from llmbench.config.model import Config
from llmbench.messages import Adjustment, OutputSchema, Route
from llmbench.providers.entra import TokenProvider
from llmbench.providers.hosts import Host, open_host
from llmbench.providers.send import speaks
from llmbench.routing.breaker import Circuits
from llmbench.routing.lessons import Lessons
from llmbench.routing.params import merge
from llmbench.routing.resolve import Wanted, option_layers, output_tokens, resolve, task_policy, task_rules
from llmbench.routing.rollout import Rollouts, open_rollouts
from llmbench.structuring import as_output_schema


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What the files say of a task in a channel and an environment, the most specific file winning.

    `timeout_s` is the deadline of its calls in seconds; None leaves it to the policy.
    """

    policy: Policy
    timeout_s: float | None
    system_prompt: str | None
    wire: Wire | None
    clean_output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Defaults:
    """Canonical options under the call's own, how they were renamed, and the schema they ask for."""

    options: Mapping[str, Any]
    renamed: tuple[Adjustment, ...]
    output_schema: OutputSchema | None


#: How long a route is kept, in seconds, and how many.
_ROUTE_S: Final = 1.0
_MOST_ROUTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _Known:
    """A route for every call of up to `room` tokens of input, until a time of the monotonic clock."""

    route: Route
    room: int
    until: float


#: What a route depends on, besides the length of the prompt.
_question: Callable[[Wanted], Hashable] = attrgetter(
    *(field.name for field in fields(Wanted) if field.name != "input_tokens")
)


class Setup:
    """Config, hosts by provider name, circuits, and what hosts refused. Safe between threads.

    What the files say of a task is worked out once for each task, channel and environment.
    """

    def __init__(
        self,
        config: Config,
        environment: Environment,
        hosts: Mapping[str, Host],
        before: Setup | None = None,
    ) -> None:
        """Take what was opened; `before` is the setup that a reload replaces.

        What hosts refused is still true of models that stand unchanged, and so is what the breaker knows.
        """
        self.config = config
        self.environment = environment
        self.hosts = hosts
        asked = environment.log_content
        self.logs_content = config.log_content if asked is None else asked
        breaker = config.policy.breaker or Breaker()  # a task's policy may use it all the same
        self.circuits, self.lessons = Circuits(breaker), Lessons()
        known = None if before is None else before.rollouts
        self.rollouts: Rollouts | None = open_rollouts(config, environment, known)
        if before is not None:
            same = {key for key, spec in config.models.items() if before.config.models.get(key) == spec}
            self.lessons = before.lessons.kept_for(same)
            if breaker == (before.config.policy.breaker or Breaker()):
                self.circuits = before.circuits
        self._routes: dict[Hashable, _Known] = {}
        self.settings = lru_cache(maxsize=4096)(self._settings)
        self.defaults = lru_cache(maxsize=4096)(self._defaults)

    def _settings(self, task: str, channel: str | None, env: str | None) -> TaskSettings:
        place = Wanted(task, channel=channel, env=env)
        rules = task_rules(self.config, place)
        timeouts = [rule.timeout_s or rule.options.get("timeout") for rule in rules]
        return TaskSettings(
            policy=task_policy(self.config, place),
            timeout_s=next((float(value) for value in timeouts if value is not None), None),
            system_prompt=next((rule.system_prompt for rule in rules if rule.system_prompt), None),
            wire=next((rule.force_wire for rule in rules if rule.force_wire), None),
            clean_output=next((rule.clean_output for rule in rules if rule.clean_output), ()),
        )

    def _defaults(self, task: str, channel: str | None, env: str | None, tier: str, key: str) -> Defaults:
        place = Wanted(task, channel=channel, env=env)
        options, renamed = merge(option_layers(self.config, place, tier, self.config.models[key]))
        return Defaults(options, renamed, as_output_schema(options.get("response_format")))

    def route(self, wanted: Wanted) -> Route:
        """The route of one call; the same question has the same answer for a second.

        Only a prompt too long for a candidate's context can change the answer meanwhile, or a key or a
        model that is set or installed while the process runs.

        Raises:
            RouteError: no candidate is left.
        """
        question, tokens = _question(wanted), wanted.input_tokens
        known = self._routes.get(question)
        if known is not None and tokens <= known.room and time.monotonic() < known.until:
            return known.route
        route = resolve(
            self.config, self.environment, wanted, lambda spec: self.unreachable(spec, wanted.wire)
        )
        keys = [*route.candidates, *(key for key, _ in route.excluded if key in self.config.models)]
        room = min((self._room(wanted, route.tier, key) for key in keys), default=sys.maxsize)
        if tokens <= room:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            self._routes[question] = _Known(route, room, time.monotonic() + _ROUTE_S)
        return route

    def _room(self, wanted: Wanted, tier: str, key: str) -> int:
        """How many tokens of input fit a candidate beside its output limit."""
        spec = self.config.models[key]
        context = spec.capabilities.context_tokens
        return sys.maxsize if context is None else context - output_tokens(self.config, wanted, tier, spec)

    def secrets(self) -> list[str]:
        """The values of every key variable that the config names, and of headers named like a key's."""
        endpoints = self.config.endpoints.values()
        names = [name for endpoint in endpoints for name in endpoint.env_api_keys]
        headers = [item for endpoint in endpoints for item in endpoint.headers.items()]
        written = [value.removeprefix("Bearer ") for name, value in headers if is_key_header(name)]
        return [*(value for name in names if (value := self.environment.secret(name))), *written]

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
            return f"{spec.model_id} is not installed (llmbench models pull {spec.model_id})"
        return f"no key or address for provider {spec.provider}: {self._missing(endpoint)}"

    def _missing(self, endpoint: Endpoint) -> str:
        """What to set so that a provider can be called."""
        secret = self.environment.secret
        wanted = []
        if endpoint.env_endpoint and not (endpoint.base_url or secret(endpoint.env_endpoint)):
            wanted.append(endpoint.env_endpoint)
        if endpoint.env_api_keys and not any(map(secret, endpoint.env_api_keys)):
            wanted.append(" or ".join(endpoint.env_api_keys))
        advice = "set " + " and ".join(wanted) if wanted else "see its section"
        if endpoint.auth == "entra":
            advice += '; for Entra tokens pass token_providers, or `pip install "llmbench[azure]"`'
        return advice


def open_setup(
    config: Config,
    environment: Environment,
    hosts: Mapping[str, Host],
    token_providers: Mapping[str, TokenProvider],
    learn: Callable[[str], None],
    before: Setup | None = None,
) -> Setup:
    """Open the hosts of a config.

    Args:
        config: what to open.
        environment: where keys and addresses are looked up.
        hosts: hosts by provider name, in place of those that the config describes.
        token_providers: what returns an Entra token, by provider name.
        learn: is told every new token, so that it can be hidden from logs.
        before: the setup that a reload replaces.

    Raises:
        ConfigError: a provider's address cannot be used.
    """
    opened = {
        name: open_host(endpoint, environment, token_provider=token_providers.get(name), learn=learn)
        for name, endpoint in config.endpoints.items()
        if name not in hosts
    }
    return Setup(config, environment, {**opened, **hosts}, before)
