"""LLMClient: the text door that a pipeline imports."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmbench.config.model import Config
from llmbench.messages import Message, Request, Response, Route, as_messages
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.params import normalise
from llmbench.routing.resolve import Wanted, task_policy, task_rules
from llmbench.routing.router import LLMRouter
from llmbench.structuring import as_output_schema

Prompt = str | Sequence[Message | Mapping[str, Any]]


class LLMClient:
    """Call a task, get an answer: the text door of the router.

    `call` works in a script, in a notebook and from several threads; `acall` inside a running event loop,
    where `async with LLMClient(...)` closes the loop's connections.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        self.router = LLMRouter(configs, **options)
        self._loop = BackgroundLoop()

    @property
    def config(self) -> Config:
        """The loaded config."""
        return self.router.config

    def call(self, task: str, prompt: Prompt, **options: Any) -> Response:
        """Answer a prompt as the task's route says; takes the arguments of `acall`.

        Ctrl-C cancels the call, writes its telemetry line and raises KeyboardInterrupt.
        """
        return self._loop.run(self.acall(task, prompt, **options))

    async def acall(
        self,
        task: str,
        prompt: Prompt,
        *,
        system: str | None = None,
        channel: str | None = None,
        env: str | None = None,
        tier: str | None = None,
        models: str | Sequence[str] = (),
        allow_fallback: bool | None = None,
        response_format: object = None,
        strict: bool = False,
        run_id: str | None = None,
        cell: str | None = None,
        routing_key: str | None = None,
        **params: Any,
    ) -> Response:
        """Answer a prompt as the task's route says.

        Args:
            task: the kind of work, as the config names it.
            prompt: a text, or messages with role and content.
            system: a system prompt; the task's own by default.
            channel: overrides of this channel apply; `LLM_CHANNEL` by default.
            env: overrides of this environment apply; `LLM_ENV` by default.
            tier: use this tier whatever the config says of the task.
            models: use these candidates; strict unless allow_fallback.
            allow_fallback: True lets a strict list go on to its second entry, False keeps any list to
                its first.
            response_format: JSON Schema, pydantic model class or Chat Completions response_format.
            strict: refuse instead of adjusting a parameter.
            run_id: the sweep this call belongs to; written to telemetry.
            cell: the sweep's cell; written to telemetry.
            routing_key: who the call is for; written to telemetry.
            **params: canonical parameters or their aliases; `timeout` is the deadline in seconds.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is unknown or wrong, or strict=True and it would be changed.
            FallbackExhausted: every attempt failed.
        """
        request, wanted = self._request(
            task,
            prompt,
            system=system,
            place=(channel, env),
            response_format=response_format,
            params=params,
            choice={"tier": tier, "models": _names(models), "allow_fallback": allow_fallback},
        )
        key = routing_key or self.router.environment.routing_key
        request = replace(request, run_id=run_id, cell=cell, routing_key=key)
        return await self.router.run(request, wanted, strict=strict)

    def explain(
        self,
        task: str,
        prompt: Prompt = "",
        *,
        system: str | None = None,
        channel: str | None = None,
        env: str | None = None,
        tier: str | None = None,
        models: str | Sequence[str] = (),
        allow_fallback: bool | None = None,
        response_format: object = None,
        **params: Any,
    ) -> Route:
        """Where `acall` with the same arguments would go, why, and with which bodies. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is unknown or wrong.
        """
        request, wanted = self._request(
            task,
            prompt,
            system=system,
            place=(channel, env),
            response_format=response_format,
            params=params,
            choice={"tier": tier, "models": _names(models), "allow_fallback": allow_fallback},
        )
        return self.router.explain(request, wanted)

    def _request(
        self,
        task: str,
        prompt: Prompt,
        *,
        system: str | None,
        place: tuple[str | None, str | None],
        response_format: object,
        params: Mapping[str, Any],
        choice: Mapping[str, Any],
    ) -> tuple[Request, Wanted]:
        """The request and what it wants of its route, with the task's own settings filled in."""
        environment = self.router.environment
        output_schema = as_output_schema(response_format)
        options = dict(params)
        if response_format is not None and output_schema is None:
            options["response_format"] = {"type": "text"}  # against a schema that the config asks for
        channel, env = place[0] or environment.channel, place[1] or environment.env
        rules = task_rules(self.config, Wanted(task, channel=channel, env=env))
        policy = task_policy(self.config, Wanted(task, channel=channel, env=env))
        messages = as_messages(prompt, system)
        if system is None and not any(turn.role in ("system", "developer") for turn in messages):
            system = next((rule.system_prompt for rule in rules if rule.system_prompt), None)
            messages = as_messages(messages, system)
        given, _ = normalise(params)
        limits = (given, *({"timeout": rule.timeout_s} for rule in rules), *(rule.options for rule in rules))
        timeouts = (limit.get("timeout") for limit in limits)
        deadline_s = next((float(value) for value in timeouts if value is not None), policy.deadline_s)
        request = Request(
            task=task,
            messages=messages,
            call_id=uuid.uuid4().hex,
            options=options,
            output_schema=output_schema,
            channel=channel,
            env=env,
            deadline_s=deadline_s,
        )
        return request, self.router.wanted(request, **choice)

    async def aclose(self) -> None:
        """Close connections and the log."""
        await self.router.aclose()

    def close(self) -> None:
        """Close connections, the log and the background loop."""
        self._loop.close(self.router.aclose)
        self.router.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _names(models: str | Sequence[str]) -> tuple[str, ...]:
    return (models,) if isinstance(models, str) else tuple(models)
