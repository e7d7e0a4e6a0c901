"""What a candidate must keep besides quality: limits on latency, failures and cost, and who may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from llmbench.catalog import ModelSpec
from llmbench.config.values import Unit

Capability = Literal["reasoning", "structured_outputs", "json_mode", "vision", "tools"]
Share = Annotated[float, Field(gt=0, lt=1)]


class Slo(BaseModel):
    """So many calls must be answered within the limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    latency_ms: Annotated[float, Field(gt=0), Unit("ms")] = Field(description="The limit.")
    share: Share = Field(0.95, description="Share of the calls that must be answered within it.")


class ChannelConstraints(BaseModel):
    """What holds for the calls of one channel alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    not_providers: list[StrictStr] = Field(
        [], description="Providers that must not be used for this channel."
    )


class Constraints(BaseModel):
    """The `constraints` of a plan file, or of one of its tasks; a task's own keys win."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    slo: Slo | None = Field(None, description="Latency that must be proved.")
    floor: Share | None = Field(None, description="Mean score that must be proved.")
    max_failure: Share | None = Field(
        None, description="Share of failed calls that must be proved not to be passed."
    )
    min_saving: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of the cost that must be saved; 0.2 is a fifth."
    )
    max_cost_usd_per_1000: Annotated[float, Field(gt=0), Unit("USD")] | None = Field(
        None, description="What 1,000 calls may cost."
    )
    upgrade: Share | None = Field(
        None, description="Gain of quality by which a dearer candidate may take over."
    )
    capabilities: list[Capability] = Field([], description="What a candidate must be able to do.")
    not_providers: list[StrictStr] = Field([], description="Providers that must not be asked.")
    channels: dict[StrictStr, ChannelConstraints] = Field(
        {}, description="Channel -> what holds for its calls alone."
    )

    def over(self, base: Constraints) -> Constraints:
        """The plan's constraints with a task's own on top."""
        return base.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def providers(self) -> set[str]:
        """Every provider that is named."""
        return {*self.not_providers, *(name for own in self.channels.values() for name in own.not_providers)}

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why a model may not be a candidate, or None."""
        if spec.provider in self.not_providers:
            return f"provider {spec.provider} is not allowed for this task"
        missing = [name for name in self.capabilities if not getattr(spec.capabilities, name, False)]
        return f"it lacks {', '.join(missing)}" if missing else None

    def closed_channels(
        self, providers: Mapping[str, str], arm: tuple[str, ...]
    ) -> dict[str, tuple[str, ...]]:
        """Channels that may not use one of the models of a chain -> the models that they may not use.

        `providers` is model key -> provider.
        """
        found = {}
        for name, own in sorted(self.channels.items()):
            refused = tuple(model for model, provider in providers.items() if provider in own.not_providers)
            if set(refused) & set(arm):
                found[name] = refused
        return found

    def terms(self) -> dict[str, Any]:
        """The part that a decision is made on, as arguments of `Terms`."""
        most = self.max_cost_usd_per_1000
        return {
            "slo": None if self.slo is None else (self.slo.latency_ms, self.slo.share),
            "floor": self.floor,
            "max_failure": self.max_failure,
            "min_saving": self.min_saving,
            "max_cost_usd": None if most is None else most / 1000.0,
            "upgrade": self.upgrade,
        }
