"""Read a config folder: each file with its `.local.yaml` overlay, checked, merged into one Config."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ValidationError

from llmbench.bounded import read_text
from llmbench.config import build
from llmbench.config.files import (
    CodesFile,
    PolicyFile,
    RegistryFile,
    RouterFile,
    SlotsFile,
    TaskOverridesFile,
    TierCandidatesFile,
    TierMappingFile,
)
from llmbench.config.lint import lint
from llmbench.config.media import build_media, lint_media
from llmbench.config.media_shapes import ImageModelsFile, MediaCodesFile, SpeechModelsFile
from llmbench.config.model import (
    FILES,
    MEDIA_CODE_FILES,
    MEDIA_FILES,
    ROLLOUTS_FILE,
    Config,
    Finding,
    Media,
    MediaModality,
    Slot,
)
from llmbench.config.rollout_shapes import RolloutsFile
from llmbench.config.rollouts import build_rollout, lint_rollouts
from llmbench.config.shapes import Shape
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError
from llmbench.messages import canonical_json

ShapeT = TypeVar("ShapeT", bound=Shape)


def load_config(folder: str | Path = "configs") -> Config:
    """Load and check a config folder.

    Raises:
        ConfigError: the first error found, with file, line and what to do.
    """
    config, findings = inspect_config(folder)
    error = next((finding for finding in findings if finding.severity == "error"), None)
    if error is not None:
        raise ConfigError(error.message, path=error.path, line=error.line)
    return config


def inspect_config(folder: str | Path) -> tuple[Config, tuple[Finding, ...]]:
    """Load a folder and return every finding, errors included.

    Raises:
        ConfigError: a file cannot be read or parsed, so that nothing more can be said.
    """
    root = config_folder(folder)
    return inspect_sources(root, {name: read_source(root, name) for name in FILES})


def config_folder(folder: str | Path) -> Path:
    """The folder as a path.

    Raises:
        ConfigError: there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no config folder at {root}; create it or pass its path")
    return root


def inspect_sources(root: Path, sources: Mapping[str, YamlSource]) -> tuple[Config, tuple[Finding, ...]]:
    """The Config of files that were read, and every finding about them.

    Raises:
        ConfigError: none of the files says anything.
    """
    if not any(source.data for source in sources.values()):
        raise ConfigError(f"{root} holds none of {', '.join(FILES)}; copy the shipped configs/ to start")
    findings: list[Finding] = []
    config = _assemble(root, sources, findings)
    if not any(finding.severity == "error" for finding in findings):
        findings += lint_media(config, sources)
        findings += lint_rollouts(config, sources)
        findings += lint(config, sources)  # a section that was not understood would look like missing names
    findings.sort(key=lambda finding: (finding.severity, finding.path, finding.line or 0))
    return config, tuple(findings)


def read_source(root: Path, name: str) -> YamlSource:
    """One config file with its overlay merged over it; empty where neither exists.

    Raises:
        ConfigError: one of them cannot be read or parsed.
    """
    base = _parse_file(root / name, name)
    overlay_name = name.removesuffix(".yaml") + ".local.yaml"
    overlay = _parse_file(root / overlay_name, overlay_name)
    if not overlay.data:
        return base
    return YamlSource(name, _merge(base.data, overlay.data), base.lines, overlay)


def _parse_file(path: Path, name: str) -> YamlSource:
    if not path.is_file():
        return YamlSource(name, {}, {})
    try:
        return parse_yaml(read_text(path), name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start}); save it as UTF-8", path=name) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=name) from error


def _merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Deep-merge mappings; anything else in the overlay replaces the base's value."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _assemble(root: Path, sources: Mapping[str, YamlSource], findings: list[Finding]) -> Config:
    def shape(name: str, model: type[ShapeT]) -> ShapeT:
        return _validate(model, sources[name], findings)

    router = shape("llm_router.yaml", RouterFile)
    registry = shape("llm_model_registry.yaml", RegistryFile)
    candidates = shape("llm_tier_candidates.yaml", TierCandidatesFile)
    mapping = shape("llm_tier_mapping.yaml", TierMappingFile)
    task_overrides = shape("llm_task_overrides.yaml", TaskOverridesFile)
    policy = shape("llm_fallback_policy.yaml", PolicyFile)
    slots = shape("llm_model_slots.yaml", SlotsFile)
    codes = shape("llm_model_codes.yaml", CodesFile)
    rollouts = shape(ROLLOUTS_FILE, RolloutsFile)
    endpoints = {name: build.build_endpoint(name, value) for name, value in router.providers.items()}
    models = {
        key: build.build_model(key, value, endpoints.get(value.provider), registry.fallback_model)
        for key, value in {**router.models, **registry.models}.items()
    }

    def media_codes(modality: MediaModality) -> MediaCodesFile:
        return shape(MEDIA_CODE_FILES[modality], MediaCodesFile)

    media: dict[MediaModality, Media] = {
        "image": build_media("image", shape(MEDIA_FILES["image"], ImageModelsFile), media_codes("image")),
        "speech": build_media(
            "speech", shape(MEDIA_FILES["speech"], SpeechModelsFile), media_codes("speech")
        ),
    }
    channels = mapping.overrides.channels
    return Config(
        folder=root,
        hash=_hash(sources),
        endpoints=endpoints,
        models=models,
        policy=build.build_policy(policy),
        codes={code: value.model_key for code, value in codes.codes.items()},
        tiers={tier: build.build_candidates(entries) for tier, entries in candidates.tiers.items()},
        tier_defaults=candidates.defaults,
        mapping=mapping.tasks,
        channels={name: build.build_override(value) for name, value in channels.items()},
        envs={name: build.build_override(value) for name, value in mapping.overrides.env.items()},
        channel_envs={
            (channel, env): build.build_override(override)
            for channel, value in channels.items()
            for env, override in value.env.items()
        },
        task_overrides={name: build.build_task(value) for name, value in task_overrides.tasks.items()},
        router_tiers={tier: build.build_candidates(entries) for tier, entries in router.tiers.items()},
        router_tasks={name: build.build_task(value) for name, value in router.tasks.items()},
        slots=_slots(slots),
        default_slot=None if slots.default_slot is None else str(slots.default_slot),
        unknown_task=router.defaults.unknown_task,
        log_path=router.defaults.log_path,
        log_content=router.defaults.log_content,
        log_rotate_mb=router.defaults.log_rotate_mb,
        reload=router.defaults.reload,
        budgets=build.build_budgets(router.defaults.budgets),
        media=media,
        rollouts={name: build_rollout(name, value) for name, value in rollouts.rollouts.items()},
        stop_file=rollouts.stop_file,
    )


def _slots(file: SlotsFile) -> dict[str, Slot]:
    return {
        str(name): Slot(value.label, {t: tuple(m) for t, m in value.tiers.items()}, value.allow_fallback)
        for name, value in file.slots.items()
    }


def _hash(sources: Mapping[str, YamlSource]) -> str:
    """Hash of the merged content: comments, order and layout of the files do not change it."""

    def textual(value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): textual(item) for key, item in value.items()}
        if isinstance(value, list):
            return [textual(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)

    said = {name: source for name, source in sources.items() if source.data or name != ROLLOUTS_FILE}
    data = {name: textual(source.data) for name, source in said.items()}
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()[:16]


def _validate(model: type[ShapeT], source: YamlSource, findings: list[Finding]) -> ShapeT:
    """Check one file; a section that is wrong becomes findings and the file counts as empty."""
    try:
        shape = model.model_validate(source.data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            path = tuple(part for part in problem["loc"] if not _is_type_label(part))
            where = ".".join(str(part) for part in path)
            message = f"{where or 'the file'}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
            if problem["type"] == "string_type" and not isinstance(problem["input"], (dict, list)):
                message += "; put it in quotes"  # YAML reads no, on, 012 and 1.10 as something else
            elif problem["type"] == "string_pattern_mismatch" and "env_" in where:
                message = f"{where}: give the name of an environment variable; a key must not stand in a file"
            findings.append(Finding("error", *source.place(path), message))
        return model()
    findings += _unknown_keys(shape, source, ())
    return shape


def _is_type_label(part: object) -> bool:
    """Pydantic names the member of a union it tried; that is no place in the file."""
    return isinstance(part, str) and part in {"str", "constrained-str", "CandidateShape", "int"}


def _unknown_keys(shape: Shape, source: YamlSource, path: tuple[str | int, ...]) -> Iterator[Finding]:
    known = _spellings(type(shape))
    for key in shape.model_extra or {}:
        if key.startswith(type(shape).open_prefixes):
            continue
        place = ".".join(str(part) for part in (*path, key))
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
        if close and shape.refuses_near_keys:
            message = f"unknown key {place!r}; did you mean {close[0]!r}?"
            yield Finding("error", *source.place((*path, key)), message)
        else:
            message = f"unknown key {place!r}; known here: {', '.join(known)} (own keys begin with x-)"
            yield Finding("warning", *source.place((*path, key)), message)
    for name in type(shape).model_fields:
        yield from _unknown_in(getattr(shape, name), source, (*path, name))


def _unknown_in(value: object, source: YamlSource, path: tuple[str | int, ...]) -> Iterator[Finding]:
    if isinstance(value, Shape):
        yield from _unknown_keys(value, source, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unknown_in(item, source, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_in(item, source, (*path, index))


def _spellings(model: type[BaseModel]) -> list[str]:
    """The keys a section may have, aliases instead of internal names."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        names += [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return names
