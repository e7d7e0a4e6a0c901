"""A tier as a model of Inspect AI: `inspect eval task.py --model llmbench/heavy_reasoning`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
from inspect_ai._util.error import PrerequisiteError  # it has no public name
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, RetryDecision
from inspect_ai.tool import ToolChoice, ToolInfo
from rich.markup import escape

from llmbench.config.model import Config
from llmbench.errors import (
    BudgetExceeded,
    ConfigError,
    EmbeddedServerError,
    FallbackExhausted,
    LLMBenchError,
    ParamError,
    ProviderError,
    RouteError,
)
from llmbench.interop.inspect_messages import messages_of
from llmbench.interop.inspect_output import as_answer, as_output, as_too_long
from llmbench.interop.inspect_parameters import parameters_of
from llmbench.messages import Adjustment
from llmbench.routing.client import LLMClient
from llmbench.structuring import brief, is_number
from llmbench.visible import visible

_LOG: Final = logging.getLogger(__name__)
_TASK: Final = "inspect"
_ARGUMENTS: Final = ("configs", "task", "channel", "env", "deadline_s")
#: Calls at a time where no provider of the tier has a limit of its own. Inspect's own default.
_CONNECTIONS: Final = 10
#: The same on a local server, which answers one call after the other: the next stands ready.
_LOCAL_CONNECTIONS: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls of a model name go: a task's own route, a tier, or one model and no other."""

    task: str
    tier: str | None = None
    models: tuple[str, ...] = ()


def place_of(name: str, config: Config, task: str = _TASK) -> Place:
    """What a model name means: a task of the config, else a tier, else one model.

    Args:
        name: what stands behind `llmbench/`.
        config: the loaded config.
        task: whose settings apply, and whose name telemetry has, where `name` is no task.

    Raises:
        ConfigError: it is none of the three.
    """
    if name in config.task_names():
        return Place(name)
    if name in config.all_tiers():
        return Place(task, tier=name)
    if (key := config.model_key(name)) is not None:
        return Place(task, models=(key,))
    known = f"tasks: {', '.join(config.task_names()) or 'none'}; tiers: {', '.join(config.all_tiers())}"
    raise ConfigError(
        f"--model llmbench/{name}: {config.folder} has no task, tier or model {name!r}; {known}"
    )


class TierModel(ModelAPI):
    """Sends Inspect's calls through the router: tiers, guard, fallback, retries, budgets and telemetry.

    Who retries: the router, by its policy. `should_retry` refuses always, so that Inspect does not multiply
    the attempts; its `max_retries` has no effect here.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **model_args: Any,
    ) -> None:
        """Load the config folder.

        Args:
            model_name: a task, tier or model of the config.
            base_url: refused: addresses stand in the config.
            api_key: refused: keys come from the environment variables that the config names.
            config: Inspect's generation config.
            **model_args: `-M` arguments: configs, task, channel, env, deadline_s.

        Raises:
            PrerequisiteError: an argument is unknown or wrong, the folder cannot be used, or has nothing of
                that name. Inspect prints this kind of error as one line; its cause is the error of ours.
        """
        super().__init__(model_name, None, None, [], config or GenerateConfig())
        try:
            if base_url or api_key:
                raise ParamError("llmbench takes no base URL and no API key; both stand in llm_router.yaml")
            self._open(model_name, _checked(model_args))
        except LLMBenchError as error:
            raise PrerequisiteError(escape(visible(str(error)))) from error

    def _open(self, model_name: str, known: Mapping[str, Any]) -> None:
        self._deadline_s: float | None = known.get("deadline_s")
        self._where: dict[str, Any] = {name: known[name] for name in ("channel", "env") if name in known}
        self.client = LLMClient(known.get("configs", "configs"))
        self.place = place_of(model_name, self.client.config, known.get("task", _TASK))
        self._limit = _concurrency(self.client, self.place, self._where)
        self._gate = anyio.Semaphore(self._limit) if self._limit is not None else contextlib.nullcontext()
        self._said: set[str] = set()

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 -- Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One call on the tier.

        A failure that is the model's own (an answer cut off, filtered, empty or against its schema, a prompt
        beyond its context) is an output with the stop reason, so that it is scored as what it is.

        Raises:
            ProviderError: every attempt failed; its text begins with `llmbench <error kind>: `.
            BudgetExceeded: a budget of the config is used up; its text begins with `llmbench budget: `.
            ParamError: the messages or the config ask for what cannot be sent.
            RouteError: no candidate is left, for another reason than the prompt's length.
            ConfigError, EmbeddedServerError: the config or the local server cannot be used. As with these
                two before it, nothing was sent, and the text begins with `llmbench not_sent: `.
        """
        try:
            return await self._generated(input, tools, tool_choice, config)
        except BudgetExceeded as error:
            raise BudgetExceeded(f"llmbench budget: {error}") from error
        except RouteError as error:
            raise RouteError(f"llmbench not_sent: {error}", error.excluded, error.causes) from error
        except (ParamError, ConfigError, EmbeddedServerError) as error:
            raise type(error)(f"llmbench not_sent: {error}") from error

    async def _generated(
        self, given: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """As `generate`, with errors as the router raises them."""
        _require_asyncio()
        turns, left_out = messages_of(given)
        asked = parameters_of(config, tools, choice, deadline_s=self._deadline_s)
        changes = (*asked.adjustments, *left_out)
        self._say(changes)
        async with self._gate:
            try:
                response = await self.client.acall(
                    self.place.task,
                    turns,
                    tier=self.place.tier,
                    models=self.place.models,
                    run_id=_eval_id(),
                    **self._where,
                    **asked.arguments,
                )
            except FallbackExhausted as error:
                return _answer_or_raise(self.model_name, error, changes)
            except RouteError as error:
                output = as_too_long(self.model_name, error, changes)
                if output is None:
                    raise
                return output
        return as_output(response, changes)

    def _say(self, changes: tuple[Adjustment, ...]) -> None:
        """Warn once of each field that is not sent; every output has them all in its metadata."""
        for change in changes:
            if change.param not in self._said:
                self._said.add(change.param)
                _LOG.warning("llmbench: %s is not sent: %s", change.param, change.rule)

    def should_retry(self, ex: Exception) -> RetryDecision:
        """Never: the router's policy has retried already, and a try more would be counted by nobody."""
        del ex
        return RetryDecision.no()

    def max_connections(self) -> int:
        """The `limits.concurrency` of the first candidate's provider, 2 for a local server, else 10."""
        return self._limit or _CONNECTIONS

    def connection_key(self) -> str:
        """Models of one config folder and place share their connections."""
        return f"{self.client.config.folder}:{self.model_name}"

    def auto_reasoning_history(self) -> str:  # type: ignore[override]  # a Literal of Inspect's own
        """Thoughts of earlier turns are not sent: wires have no common place for them."""
        return "none"

    async def aclose(self) -> None:
        """Close connections and the telemetry log."""
        await self.client.aclose()


def _checked(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """The `-M` arguments with their types; Inspect reads them as YAML, so that a word may come as a boolean.

    Raises:
        ParamError: one is unknown or has a wrong value.
    """
    for name, value in model_args.items():
        if name not in _ARGUMENTS:
            raise ParamError(f"-M {name}: llmbench knows {', '.join(_ARGUMENTS)}")
        if name == "deadline_s" and not (is_number(value) and value > 0):
            raise ParamError(f"-M deadline_s={brief(value)}: give seconds, over 0")
        if name != "deadline_s" and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise ParamError(f"-M {name}={value!r:.80}: give a text; quote words that YAML reads otherwise")
    return {name: float(value) if name == "deadline_s" else str(value) for name, value in model_args.items()}


def _concurrency(client: LLMClient, place: Place, where: Mapping[str, Any]) -> int | None:
    """How many calls the first candidate's provider takes at a time; None when it says nothing.

    Calls beyond it wait here, before their deadline begins.
    """
    try:
        route = client.explain(place.task, "x", tier=place.tier, models=place.models, **where)
    except LLMBenchError:
        return None  # the first call will say it with every reason
    config = client.config
    endpoint = config.endpoints[config.models[route.candidates[0]].provider]
    return endpoint.limits.concurrency or (_LOCAL_CONNECTIONS if endpoint.managed == "embedded" else None)


def _answer_or_raise(name: str, error: FallbackExhausted, changes: tuple[Adjustment, ...]) -> ModelOutput:
    output = as_answer(name, error, changes)
    if output is not None:
        return output
    last = error.exceptions[-1]
    status = last.status_code if isinstance(last, ProviderError) else None
    # Inspect takes groups of exceptions apart; one error that names the kind is what its log should hold.
    raise ProviderError(
        f"llmbench {error.kind}: {error.message}", kind=error.kind, status_code=status
    ) from None


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError as error:
        raise ParamError("llmbench runs on asyncio alone; unset INSPECT_ASYNC_BACKEND=trio") from error


def _eval_id() -> str | None:
    """The id of the eval that runs, as its log has it; None outside of one."""
    try:
        from inspect_ai.log._samples import sample_active  # it has no public name
    except ImportError:
        return None
    sample = sample_active()
    return None if sample is None else str(sample.eval_id)
