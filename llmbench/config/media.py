"""The media tiers: image and speech models with their tasks, built from their shapes, their names checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from llmbench.catalog import Price
from llmbench.config.build import build_endpoint
from llmbench.config.media_shapes import ImageModelsFile, ImageModelShape, SpeechModelsFile, SpeechModelShape
from llmbench.config.model import MEDIA_FILES, Config, Finding, Media, MediaModality, MediaModel, MediaTask
from llmbench.config.places import near
from llmbench.config.yaml_source import Path, YamlSource

Problem = tuple[Path, str]


def build_media(modality: MediaModality, shape: ImageModelsFile | SpeechModelsFile) -> Media:
    """One media file as data."""
    models: Mapping[str, ImageModelShape | SpeechModelShape] = shape.models
    return Media(
        endpoints={name: build_endpoint(name, value) for name, value in shape.providers.items()},
        models={key: _model(key, value, modality) for key, value in models.items()},
        tiers={tier: tuple(names) for tier, names in shape.tiers.items()},
        tasks={
            name: MediaTask(task.tier, tuple(task.models), task.options, task.allow_fallback, task.timeout)
            for name, task in shape.tasks.items()
        },
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
        expires=shape.expires,
        defaults=shape.defaults,
    )


def lint_media(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Every name in the media files that leads nowhere, and every tier or task of two kinds."""
    findings = []
    for modality, media in config.media.items():
        source = sources[MEDIA_FILES[modality]]
        for check in (_models(media, modality), _tiers(media), _tasks(media), _twice(config, modality)):
            findings += [Finding("error", *source.place(path), message) for path, message in check]
    return findings


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


def _tiers(media: Media) -> Iterator[Problem]:
    for tier, models in media.tiers.items():
        if not models:
            yield ("tiers", tier), f"tier {tier!r} has no candidate; name one model"
        yield from _unknown_models(media, ("tiers", tier), f"tier {tier!r}", models)


def _tasks(media: Media) -> Iterator[Problem]:
    for name, task in media.tasks.items():
        if task.tier not in media.tiers:
            message = f"task {name!r} names tier {task.tier!r}, which this file does not have; "
            yield ("tasks", name, "tier"), message + near(task.tier, media.tiers)
        yield from _unknown_models(media, ("tasks", name, "models"), f"task {name!r}", task.models)


def _unknown_models(media: Media, path: Path, who: str, models: Iterable[str]) -> Iterator[Problem]:
    for index, model in enumerate(models):
        if model not in media.models:
            message = f"{who} names model {model!r}, which this file does not have; "
            yield (*path, index), message + near(model, media.models)


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
