"""LLMRouter: config, hosts, transports and the log of one process, and the way of a call through them."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmbench.catalog import ModelSpec
from llmbench.config.environment import read_environment
from llmbench.config.model import Config
from llmbench.errors import LLMBenchError
from llmbench.messages import Response, Route
from llmbench.providers.base import HttpxTransport, Transport
from llmbench.providers.hosts import Host
from llmbench.routing.arguments import Prompt, asked_for
from llmbench.routing.call import Call
from llmbench.routing.fallback import run_candidates
from llmbench.routing.setup import Setup, open_setup
from llmbench.telemetry import DEFAULT_LOG_PATH, Redactor, TelemetryLog


class LLMRouter:
    """What the doors share. Safe between threads and event loops: each loop gets its own transport."""

    def __init__(
        self,
        configs: str | Path | Config = "configs",
        *,
        variables: Mapping[str, str] | None = None,
        log_path: str | Path | None = None,
        transport: Callable[[], Transport] = HttpxTransport,
        hosts: Mapping[str, Host] | None = None,
    ) -> None:
        """Load the config and open the hosts.

        Args:
            configs: a config folder, or a loaded Config.
            variables: environment variables; the process's own by default.
            log_path: the telemetry file; `LLM_ROUTER_LOG_PATH`, the config's or the default path if None.
            transport: makes one transport an event loop.
            hosts: hosts by provider name, in place of those the config describes.

        Raises:
            ConfigError: the folder or a provider's address cannot be used.
        """
        config = configs if isinstance(configs, Config) else _loaded(configs)
        self.environment = read_environment(variables)
        self._setup = open_setup(config, self.environment, dict(hosts or {}))
        self._make_transport = transport
        self._transports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport] = (
            weakref.WeakKeyDictionary()
        )
        self._transports_guard = threading.Lock()
        self._redact = Redactor(self._setup.secrets())
        path = log_path or self.environment.log_path or config.log_path or DEFAULT_LOG_PATH
        self.log = TelemetryLog(None if self.environment.log_disabled else path)

    @property
    def config(self) -> Config:
        """The config in use."""
        return self._setup.config

    def setup(self) -> Setup:
        """What the next call works with."""
        return self._setup

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether a model's provider is known and has what a call needs."""
        return self._setup.unreachable(spec) is None

    def model_version(self, key: str) -> str:
        """The version of a model as far as it is known before a call; its id when nothing more is."""
        spec = self.config.models[key]
        host = self._setup.hosts.get(spec.provider)
        return (host.version(spec) if host is not None else None) or spec.model_id

    def begin(self, task: str, prompt: Prompt, **arguments: Any) -> Call:
        """A call with the arguments of `asked_for`. Nothing is sent.

        Raises:
            ParamError: an argument is unknown or has a wrong value.
        """
        setup = self.setup()
        asked = asked_for(setup, task, prompt, **arguments)
        return Call(setup, asked, self.log, self._redact)

    def explain(self, task: str, prompt: Prompt, **arguments: Any) -> Route:
        """Where `run` with the same arguments would go. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an argument is wrong, or strict is set and a parameter would be changed.
        """
        return self.begin(task, prompt, **arguments).explain()

    async def run(self, call: Call) -> Response:
        """One call from route to telemetry line.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is wrong, or strict is set and the guard would change one.
            FallbackExhausted: every attempt failed.
        """
        try:
            route, transport = call.resolve(), self._transport()
            outcome = await run_candidates(
                route.candidates,
                call.asked.policy,
                call.asked.request.deadline_s,
                lambda key: call.send(key, transport),
                attempts=call.attempts,
                circuits=call.setup.circuits,
            )
        except (LLMBenchError, asyncio.CancelledError) as error:
            call.failed(error)
            raise
        return call.answered(outcome)

    def _transport(self) -> Transport:
        """This event loop's transport."""
        loop = asyncio.get_running_loop()
        with self._transports_guard:
            transport = self._transports.get(loop)
            if transport is None:
                transport = self._transports[loop] = self._make_transport()
            return transport

    async def aclose(self) -> None:
        """Close this loop's connections and the log."""
        with self._transports_guard:
            transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()
        self.log.close()


def _loaded(folder: str | Path) -> Config:
    from llmbench.config.load import load_config  # pydantic and YAML: only where a folder is read

    return load_config(folder)
