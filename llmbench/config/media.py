"""The media tiers: image and speech models with their tasks, built from their shapes, their names checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmbench.catalog import Price
from llmbench.config.build import build_endpoint
from llmbench.config.media_shapes import (
    ImageModelsFile,
    ImageModelShape,
    MediaCodesFile,
    ProfileShape,
    SpeechModelsFile,
    SpeechModelShape,
)
from llmbench.config.model import (
    MEDIA_CODE_FILES,
    MEDIA_FILES,
    Config,
    Finding,
    Media,
    MediaModality,
    MediaModel,
    MediaProfile,
    MediaTask,
)
from llmbench.config.places import near
from llmbench.config.yaml_source import Path, YamlSource

Problem = tuple[Path, str]
#: What the voice of a call is called in a file.
_VOICE: Final = ("voice", "voice_name")


def build_media(
    modality: MediaModality, shape: ImageModelsFile | SpeechModelsFile, codes: MediaCodesFile
) -> Media:
    """One media file as data, with the codes of its models."""
    models: Mapping[str, ImageModelShape | SpeechModelShape] = shape.models
    return Media(
        endpoints={name: build_endpoint(name, value) for name, value in shape.providers.items()},
        models={key: _model(key, value, modality) for key, value in models.items()},
        tiers={tier: tuple(names) for tier, names in shape.tiers.items()},
        tasks={
            name: MediaTask(task.tier, tuple(task.models), task.options, task.allow_fallback, task.timeout)
            for name, task in shape.tasks.items()
        },
        profiles={name: _profile(value) for name, value in shape.profiles.items()},
        codes={code: value.model_key for code, value in codes.slots.items()},
    )


def _profile(shape: ProfileShape) -> MediaProfile:
    return MediaProfile(
        tasks={
            name: MediaTask(task.tier, tuple(task.models), task.options, task.allow_fallback, task.timeout)
            for name, task in shape.tasks.items()
        },
        tiers={tier: tuple(names) for tier, names in shape.tiers.items()},
    )


def _model(key: str, shape: ImageModelShape | SpeechModelShape, modality: MediaModality) -> MediaModel:
    given, price = shape.capabilities, shape.price
    facts = given.model_dump(include=set(type(given).model_fields) - {"mode"}, exclude_defaults=True)
    return MediaModel(
        key=key,
        provider=shape.provider,
        model_id=shape.deployment or shape.model_id or key,
        modality=given.mode or modality,
        capabilities=facts,
        wire=shape.wire,
        family=shape.family,
        api_version=shape.api_version,
        price=None if price is None else Price(**price.model_dump(include=set(type(price).model_fields))),
        cost_tier=shape.cost_tier,
        expires=shape.expires,
        defaults=shape.defaults,
    )


def lint_media(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Every name in the media files that leads nowhere, and every tier or task of two kinds."""
    findings = []
    for modality, media in config.media.items():
        source, codes = sources[MEDIA_FILES[modality]], sources[MEDIA_CODE_FILES[modality]]
        names = _Names(config, modality, media)
        for found in (
            _models(media, modality),
            _voices(media),
            _task_voices(names),
            _tiers(names),
            _tasks(names),
            _profiles(names),
        ):
            findings += [Finding("error", *source.place(path), message) for path, message in found]
        for path, message in _twice(config, modality):
            findings.append(Finding("error", *source.place(path), message))
        for path, message in _codes(names):
            findings.append(Finding("error", *codes.place(path), message))
    return findings


@dataclass(frozen=True, slots=True)
class _Names:
    """One media file beside all others: what a name in it may mean."""

    config: Config
    modality: MediaModality
    media: Media

    def unknown(self, path: Path, who: str, models: Iterable[str]) -> Iterator[Problem]:
        """The models that are none of this file's, each with what it is instead."""
        for index, model in enumerate(models):
            if not self.is_known(model):
                yield (*path, index), f"{who} names model {model!r}, {self.instead(model)}"

    def is_known(self, model: str) -> bool:
        """Whether a key, a code or a model id leads to exactly one model of this file."""
        return self.model(model) is not None

    def model(self, name: str) -> MediaModel | None:
        """The one model of this file that a key, a code or a model id leads to, or None."""
        models = self.media.models
        key = name if name in models else self.media.codes.get(name, "")
        if key in models:
            return models[key]
        found = [spec for spec in models.values() if spec.model_id == name]
        return found[0] if len(found) == 1 else None

    def instead(self, model: str) -> str:
        """What a name is that is no model of this file."""
        if self.config.model_key(model) is not None:
            return f"which is a text model; a tier holds one kind of model: name one of {self.file}"
        for kind, other in self.config.media.items():
            if kind != self.modality and model in other.models:
                article = "an" if kind == "image" else "a"
                return f"which is {article} {kind} model; a tier holds one kind of model"
        return f"which this file does not have; {near(model, self.media.models)}"

    @property
    def file(self) -> str:
        """The name of this media file."""
        return MEDIA_FILES[self.modality]


def _models(media: Media, modality: MediaModality) -> Iterator[Problem]:
    for key, model in media.models.items():
        if model.provider not in media.endpoints:
            message = f"model {key!r} names provider {model.provider!r}, which this file does not have; "
            yield ("models", key, "provider"), message + near(model.provider, media.endpoints)
        if model.modality != modality:
            message = (
                f"model {key!r} is a {model.modality} model; it belongs in {MEDIA_FILES[model.modality]}"
            )
            yield ("models", key, "capabilities", "mode"), message


def _voices(media: Media) -> Iterator[Problem]:
    """Default voices that the model has not: every call that names no other would be refused."""
    for key, model in media.models.items():
        known, path = model.capabilities.get("voices", ()), ("models", key, "defaults")
        given: list[tuple[Path, Any]] = [((*path, name), model.defaults.get(name)) for name in _VOICE]
        speakers = model.defaults.get("speakers")
        if isinstance(speakers, Mapping):
            given += [((*path, "speakers", name), voice) for name, voice in speakers.items()]
        for place, voice in given:
            if known and isinstance(voice, str) and voice not in known:
                yield place, f"model {key!r} has no voice {voice!r}; {near(voice, known)}"


def _task_voices(names: _Names) -> Iterator[Problem]:
    """A task's voice that none of its candidates has."""
    for name, task in names.media.tasks.items():
        candidates = task.models or names.media.tiers.get(task.tier, ())
        found = [model for each in candidates if (model := names.model(each)) is not None]
        listed = [model.capabilities.get("voices", ()) for model in found]
        for option in _VOICE:
            voice, known = task.options.get(option), {each for voices in listed for each in voices}
            if isinstance(voice, str) and listed and all(listed) and voice not in known:
                message = f"task {name!r}: none of its models has the voice {voice!r}; {near(voice, known)}"
                yield ("tasks", name, "options", option), message


def _tiers(names: _Names) -> Iterator[Problem]:
    for tier, models in names.media.tiers.items():
        if not models:
            yield ("tiers", tier), f"tier {tier!r} has no candidate; name one model"
        yield from names.unknown(("tiers", tier), f"tier {tier!r}", models)


def _tasks(names: _Names) -> Iterator[Problem]:
    for name, task in names.media.tasks.items():
        if task.tier not in names.media.tiers:
            message = f"task {name!r} names tier {task.tier!r}, which this file does not have; "
            yield ("tasks", name, "tier"), message + near(task.tier, names.media.tiers)
        yield from names.unknown(("tasks", name, "models"), f"task {name!r}", task.models)


def _profiles(names: _Names) -> Iterator[Problem]:
    media = names.media
    for name, profile in media.profiles.items():
        where = ("profiles", name)
        for tier, models in profile.tiers.items():
            if tier not in media.tiers:
                yield (
                    (*where, "tiers", tier),
                    f"profile {name!r}: no tier {tier!r}; {near(tier, media.tiers)}",
                )
            yield from names.unknown((*where, "tiers", tier), f"profile {name!r}", models)
        for task, rule in profile.tasks.items():
            if task not in media.tasks:
                yield (
                    (*where, "tasks", task),
                    f"profile {name!r}: no task {task!r}; {near(task, media.tasks)}",
                )
            if rule.tier and rule.tier not in media.tiers:
                message = f"profile {name!r}: no tier {rule.tier!r}; {near(rule.tier, media.tiers)}"
                yield (*where, "tasks", task, "tier"), message
            yield from names.unknown((*where, "tasks", task, "models"), f"profile {name!r}", rule.models)


def _codes(names: _Names) -> Iterator[Problem]:
    for code, model in names.media.codes.items():
        path = ("slots", code)
        if model not in names.media.models:
            yield (*path, "model_key"), f"code {code!r} names model {model!r}, {names.instead(model)}"
        if code in names.media.models and model != code:
            yield path, f"code {code!r} is also a model key of {names.file}; choose another code"


def _twice(config: Config, modality: MediaModality) -> Iterator[Problem]:
    """A tier or task that is of another kind elsewhere: one name must lead to one door."""
    media = config.media[modality]
    others = {MEDIA_FILES[kind]: other for kind, other in config.media.items() if kind != modality}
    text_tasks = config.task_names()
    for tier in media.tiers:
        places = [name for name, other in others.items() if tier in other.tiers]
        places += ["the text tiers"] if tier in config.all_tiers() else []
        if places:
            yield ("tiers", tier), f"tier {tier!r} stands in {places[0]} too; a tier holds one kind of model"
    for task in media.tasks:
        places = [name for name, other in others.items() if task in other.tasks]
        places += ["the text tasks"] if task in text_tasks else []
        if places:
            yield ("tasks", task), f"task {task!r} stands in {places[0]} too; a task is of one kind"
