"""LLMRouter: config, hosts, transports and the log of one process, and the way of a call through them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

from llmbench.catalog import ModelSpec
from llmbench.config.environment import Environment, read_environment
from llmbench.config.model import Config
from llmbench.config.watch import ConfigWatch
from llmbench.errors import LLMBenchError
from llmbench.messages import Request, Response, Route
from llmbench.providers.base import Transport
from llmbench.providers.entra import TokenProvider
from llmbench.providers.hosts import Host
from llmbench.providers.transport import HttpxTransport
from llmbench.routing.arguments import Asked, Prompt, asked_for
from llmbench.routing.budget import Budgets
from llmbench.routing.call import Call
from llmbench.routing.fallback import Outcome, run_candidates
from llmbench.routing.resolve import Wanted
from llmbench.routing.rollout_shadow import Shadows
from llmbench.routing.setup import Setup, open_setup
from llmbench.routing.streaming import stream_candidates
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
        token_providers: Mapping[str, TokenProvider] | None = None,
        reload: bool | None = None,
    ) -> None:
        """Load the config and open the hosts.

        Args:
            configs: a config folder, or a loaded Config.
            variables: environment variables; the process's own by default.
            log_path: the telemetry file; `LLM_ROUTER_LOG_PATH`, the config's or the default path if None.
            transport: makes one transport an event loop.
            hosts: hosts by provider name, in place of those the config describes.
            token_providers: what returns an Entra token, by provider name, for `auth: entra`.
            reload: take up changed config files; the config's `defaults.reload` if None.

        Raises:
            ConfigError: the folder or a provider's address cannot be used.
        """
        config = configs if isinstance(configs, Config) else _loaded(configs)
        self.environment = read_environment(variables)
        self._redact = Redactor()
        self._hosts, self._token_providers = dict(hosts or {}), dict(token_providers or {})
        self._setup = self._opened(config)
        self._budgets = Budgets(config.budgets)
        is_watched = config.reload if reload is None else reload
        self._watch = ConfigWatch(config.folder, config, accept=self._opened) if is_watched else None
        self._make_transport = transport
        self._transports: dict[asyncio.AbstractEventLoop, Transport] = {}
        self._transports_guard = threading.Lock()
        self.shadows = Shadows(self.run, self.aclose)
        path = log_path or self.environment.log_path or config.log_path or DEFAULT_LOG_PATH
        is_off = self.environment.log_disabled
        self.log = TelemetryLog(None if is_off else path, rotate_mb=config.log_rotate_mb)

    @property
    def config(self) -> Config:
        """The config in use."""
        return self._setup.config

    def setup(self) -> Setup:
        """What the next call works with: changed config files once they are whole and right."""
        changed = None if self._watch is None else self._watch.changed()
        if changed is not None:
            self._setup = self._opened(changed)
            self._budgets.limits = changed.budgets
        return self._setup

    def _opened(self, config: Config) -> Setup:
        """A config with its hosts; the redactor learns the keys that it names.

        Raises:
            ConfigError: a provider's address cannot be used.
        """
        seen, environment = self._seen(config)
        opened = open_setup(
            seen,
            environment,
            self._hosts,
            self._token_providers,
            self._redact.add,
            getattr(self, "_setup", None),
        )
        self._redact.keep(opened.secrets())
        return opened

    def _seen(self, config: Config) -> tuple[Config, Environment]:
        """The part of a config that this router serves, and the variables that steer it.

        Raises:
            ConfigError: there is no such part.
        """
        return config, self.environment

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether a model's provider is known and has what a call needs."""
        return self._setup.unreachable(spec) is None

    def model_version(self, key: str) -> str:
        """The version of a model as far as it is known before a call; its id when nothing more is."""
        spec = self.config.models[key]
        host = self._setup.hosts.get(spec.provider)
        return (host.version(spec) if host is not None else None) or spec.model_id

    def begin(self, task: str, prompt: Prompt, **arguments: Any) -> Call:
        """A call with the arguments of `asked_for`. Nothing is sent; a call that is refused has its line too.

        Raises:
            ParamError: an argument is unknown or has a wrong value.
        """
        try:
            return self._asked(task, prompt, **arguments)
        except LLMBenchError as error:
            refused = Asked(Request(str(task), (), uuid.uuid4().hex), Wanted(str(task)), self.config.policy)
            Call(self._setup, refused, self.log, self._redact, self._budgets.open(None, None)).failed(error)
            raise

    def _asked(self, task: str, prompt: Prompt, **arguments: Any) -> Call:
        setup = self.setup()
        asked = asked_for(setup, task, prompt, **arguments)
        request = asked.request
        purse = self._budgets.open(request.run_id, request.routing_key, request.budget_usd)
        return Call(setup, asked, self.log, self._redact, purse)

    def explain(self, task: str, prompt: Prompt, **arguments: Any) -> Route:
        """Where `run` with the same arguments would go. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an argument is wrong, or strict is set and a parameter would be changed.
        """
        return self._asked(task, prompt, **arguments).explain()

    async def run(self, call: Call) -> Response:
        """One call from route to telemetry line.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is wrong, or strict is set and the guard would change one.
            FallbackExhausted: every attempt failed.
        """
        try:
            route, transport = call.resolve(), self._transport()
            if call.arm is not None:
                self.shadows.send(call)
            outcome = await run_candidates(
                route.candidates,
                call.asked.policy,
                call.asked.request.deadline_s,
                lambda key: call.send(key, transport),
                attempts=call.attempts,
                options=call.options(),
            )
            return call.answered(outcome)
        except BaseException as error:
            call.failed(error)
            raise

    async def stream(self, call: Call) -> AsyncGenerator[str | Response, None]:
        """The same in pieces of text, then the Response. A stream that is given up counts as cancelled.

        Raises:
            RouteError, ParamError, FallbackExhausted: as `run`.
        """
        try:
            route, transport = call.resolve(), self._transport()
            if call.arm is not None:
                self.shadows.send(call)
            pieces = stream_candidates(
                route.candidates,
                call.asked.policy,
                call.asked.request.deadline_s,
                lambda key: call.open_stream(key, transport),
                attempts=call.attempts,
                options=call.options(),
            )
            async with contextlib.aclosing(pieces) as arriving:
                async for piece in arriving:
                    yield call.answered(piece) if isinstance(piece, Outcome) else piece
        except BaseException as error:
            call.failed(error)
            raise

    def _transport(self) -> Transport:
        """This event loop's transport."""
        loop = asyncio.get_running_loop()
        with self._transports_guard:
            transport = self._transports.get(loop)
            if transport is None:
                for other in [other for other in self._transports if other.is_closed()]:
                    del self._transports[other]  # a script may run one loop after another
                transport = self._transports[loop] = self._make_transport()
            return transport

    async def aclose(self) -> None:
        """Close this loop's connections and the log."""
        with self._transports_guard:
            transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()
        self.log.close()

    def close(self) -> None:
        """Close the connections of every loop, as far as that can be done from outside, and the log.

        Shadows on their way get two seconds to end.
        """
        self.shadows.close()
        with self._transports_guard:
            transports, self._transports = self._transports, {}
        here = _running_loop()
        for loop, transport in transports.items():
            if loop is here or loop.is_closed():
                continue  # a transport closes itself when it is garbage, which it is now
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(transport.aclose(), loop)
            elif here is None:
                loop.run_until_complete(transport.aclose())
        self.log.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _loaded(folder: str | Path) -> Config:
    from llmbench.config.load import load_config  # pydantic and YAML: only where a folder is read

    return load_config(folder)
