"""Config: everything the router needs to know, as frozen data with the place each rule came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.catalog import BudgetLimits, Candidate, Endpoint, ModelSpec, Policy, Price

#: `info` is no mistake in the files: it says what does not work on this machine as it is now.
Severity = Literal["error", "warning", "info"]
CleanUp = Literal["unfence", "unwrap_json"]
ForcedWire = Literal["responses", "chat"]
FILES: Final[tuple[str, ...]] = (
    "llm_router.yaml",
    "llm_model_registry.yaml",
    "llm_tier_candidates.yaml",
    "llm_tier_mapping.yaml",
    "llm_task_overrides.yaml",
    "llm_fallback_policy.yaml",
    "llm_model_slots.yaml",
    "llm_model_codes.yaml",
    "image_models.yaml",
    "speech_models.yaml",
    "image_model_slots.yaml",
    "speech_model_slots.yaml",
    "llm_rollouts.yaml",
)
#: Where the lab writes which rollouts are stopped.
DEFAULT_STOP_FILE: Final = "workspaces/rollouts.json"
#: What is tried out beside the routes; a folder without it hashes as it did before there was such a file.
ROLLOUTS_FILE: Final = "llm_rollouts.yaml"
MediaModality = Literal["image", "speech"]
MediaWireName = Literal["chat", "gemini", "images", "speech", "workflow"]
MEDIA_FILES: Final[Mapping[MediaModality, str]] = {
    "image": "image_models.yaml",
    "speech": "speech_models.yaml",
}
#: Short operator codes of media models.
MEDIA_CODE_FILES: Final[Mapping[MediaModality, str]] = {
    "image": "image_model_slots.yaml",
    "speech": "speech_model_slots.yaml",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing `llmbench check` has to say about a config folder."""

    severity: Severity
    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.severity}: {self.message}"


@dataclass(frozen=True, slots=True)
class TaskRule:
    """What one file says of one task; empty values say nothing.

    `policy` holds the fields of Policy that the task changes (`retry_policy`). `clean_output` names the
    clean-up steps of the reply's text, `force_wire` the one wire that the task's models are asked on.
    """

    tier: str | None = None
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None
    timeout_s: float | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    clean_output: tuple[CleanUp, ...] = ()
    force_wire: ForcedWire | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """What a channel, an environment, or both together change."""

    tasks: Mapping[str, TaskRule] = field(default_factory=dict)
    tiers: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """An operator's choice of models for some tiers."""

    label: str
    tiers: Mapping[str, tuple[str, ...]]
    allow_fallback: bool = False


@dataclass(frozen=True, slots=True)
class MediaModel:
    """One image or speech model. `capabilities` are the keys that its file gives; the others are unknown."""

    key: str
    provider: str
    model_id: str
    modality: MediaModality
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    wire: MediaWireName | None = None
    family: str | None = None
    api_version: str | None = None
    price: Price | None = None
    cost_tier: str | None = None
    expires: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MediaTask:
    """A task of a media tier. Without `allow_fallback` no other model answers: style goes with the model.

    In a profile, an empty `tier` and an `allow_fallback` of None leave what the task itself says.
    """

    tier: str
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_fallback: bool | None = False
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class MediaProfile:
    """What a named profile changes: tasks, and whole tiers. `IMAGE_CLIENT_PROFILE` chooses one."""

    tasks: Mapping[str, MediaTask]
    tiers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Media:
    """One media file: image or speech, with providers, models, tiers and tasks of its own.

    `codes` are the operator codes of its models, from the slots file beside it.
    """

    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, MediaModel]
    tiers: Mapping[str, tuple[str, ...]]
    tasks: Mapping[str, MediaTask]
    profiles: Mapping[str, MediaProfile] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutBudget:
    """What the shadows of one rollout may use in a day (UTC), and how many may be on their way at once.

    `usd` is in USD; None sets no limit.
    """

    usd: float | None = None
    calls: int | None = None
    in_flight: int = 4


@dataclass(frozen=True, slots=True)
class Rollout:
    """A challenger that is tried out on a share of calls.

    `challengers` are names of models in the order they are tried, `share` a part of 1. `tasks` is empty where
    a whole `tier` is meant. `max_failure_rate` (a part of 1) and `max_p95_ms` are the limits that the lab
    holds it to, `until` the last day (UTC) on which it runs, in the form 2026-12-31.
    """

    name: str
    mode: Literal["split", "shadow"]
    challengers: tuple[str, ...]
    share: float
    salt: str
    tasks: tuple[str, ...] = ()
    tier: str | None = None
    budget: RolloutBudget = RolloutBudget()
    max_failure_rate: float | None = None
    max_p95_ms: float | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A checked config folder.

    `router_*` comes from `llm_router.yaml`, `tiers` and `tier_defaults` from
    `llm_tier_candidates.yaml`, `mapping` and the overrides from `llm_tier_mapping.yaml`.
    `hash` identifies the merged content. `log_content` puts prompt and reply texts into telemetry,
    `log_rotate_mb` is the size in MiB beyond which its file is rotated (None: never),
    `reload` takes up changed files without a restart. `budgets` are the limits that every call keeps.
    `media` are the image and speech files, apart from all text models. `sources` are the names by which
    reasons call the files, where they are not the text models' own. `rollouts` are tried out unless
    `stop_file` names them as stopped.
    """

    folder: Path
    hash: str
    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, ModelSpec]
    policy: Policy
    codes: Mapping[str, str]
    tiers: Mapping[str, tuple[Candidate, ...]]
    tier_defaults: Mapping[str, Mapping[str, Any]]
    mapping: Mapping[str, str]
    channels: Mapping[str, Override]
    envs: Mapping[str, Override]
    channel_envs: Mapping[tuple[str, str], Override]
    task_overrides: Mapping[str, TaskRule]
    router_tiers: Mapping[str, tuple[Candidate, ...]]
    router_tasks: Mapping[str, TaskRule]
    slots: Mapping[str, Slot]
    default_slot: str | None
    unknown_task: Literal["standard", "error"]
    log_path: str | None
    log_content: bool = False
    log_rotate_mb: float | None = None
    reload: bool = False
    budgets: BudgetLimits = field(default_factory=BudgetLimits)
    media: Mapping[MediaModality, Media] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    stop_file: str = DEFAULT_STOP_FILE

    def source(self, name: str) -> str:
        """What a reason calls a file: `llm_tier_mapping`, or the media file in its place."""
        return self.sources.get(name, name)

    def all_tiers(self) -> dict[str, tuple[Candidate, ...]]:
        """Tier -> ordered candidates, `llm_tier_candidates.yaml` before `llm_router.yaml`."""
        return {**self.router_tiers, **self.tiers}

    def model_key(self, name: str) -> str | None:
        """The model key behind a key, an operator code, or a model id that matches exactly one model."""
        if name in self.models:
            return name
        if self.codes.get(name) in self.models:
            return self.codes[name]
        by_id = [key for key, spec in self.models.items() if spec.model_id == name]
        return by_id[0] if len(by_id) == 1 else None

    def task_names(self) -> tuple[str, ...]:
        """Every task that some file names, sorted."""
        return tuple(sorted({*self.mapping, *self.task_overrides, *self.router_tasks}))

    def media_of(self, *, task: str, tier: str) -> MediaModality | None:
        """The kind of a media task, or of a media tier; None for text."""
        kinds = (kind for kind, media in self.media.items() if task in media.tasks or tier in media.tiers)
        return next(kinds, None)

    def overrides(self) -> Iterator[tuple[tuple[str | int, ...], Override]]:
        """Every override of `llm_tier_mapping.yaml` with its key path in that file."""
        for channel, override in self.channels.items():
            yield ("overrides", "channels", channel), override
        for env, override in self.envs.items():
            yield ("overrides", "env", env), override
        for (channel, env), override in self.channel_envs.items():
            yield ("overrides", "channels", channel, "env", env), override
