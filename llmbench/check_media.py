"""What `llmbench check` says of the media files beyond their names: wires, voices, prices, reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.environment import Environment
from llmbench.config.media_view import force_variable, media_config, media_environment
from llmbench.config.model import MEDIA_FILES, Config, MediaModality
from llmbench.config.places import Problem, near
from llmbench.errors import ConfigError, ParamError, RouteError
from llmbench.messages import Usage
from llmbench.pricing import Made, cost_of
from llmbench.providers.hosts import Host, open_host
from llmbench.providers.local_voices import VOICES
from llmbench.providers.media_wires import media_wire_for
from llmbench.routing import image_guard, speech_guard
from llmbench.routing.media_params import normalise
from llmbench.routing.resolve import Wanted
from llmbench.routing.setup import Setup

#: Refuses options of one place that exclude each other, as a call would.
_REFUSE: Final[Mapping[MediaModality, Callable[[Mapping[str, Any]], None]]] = {
    "image": image_guard.refuse_contradiction,
    "speech": speech_guard.refuse_contradiction,
}
#: What a price by unit is tried with.
_SAMPLES: Final[Mapping[MediaModality, Made]] = {
    "image": Made(images=1),
    "speech": Made(audio_s=60.0, characters=1000),
}


def media_problems(
    config: Config, environment: Environment, with_address: Callable[[Endpoint, Environment], Endpoint]
) -> Iterator[Problem]:
    """Every problem of the media files that are there; the profile that the environment names included."""
    for modality, media in config.media.items():
        if not media.models:
            continue
        try:
            view = media_config(config, modality, environment)
        except ConfigError as error:
            yield "error", (MEDIA_FILES[modality], ("profiles",)), str(error)
            continue
        yield from _models(view, modality, environment, with_address)
        yield from _options(config, modality)
        yield from _forced(view, modality, environment)
        setup = _setup(view, media_environment(environment, modality, media))
        yield from _out_of_reach(setup, modality)
        yield from _moved(setup, modality)


def _models(
    view: Config,
    modality: MediaModality,
    environment: Environment,
    with_address: Callable[[Endpoint, Environment], Endpoint],
) -> Iterator[Problem]:
    for key, spec in view.models.items():
        file, path = MEDIA_FILES[modality], ("models", key)
        endpoint = view.endpoints[spec.provider]
        if endpoint.managed == "embedded" and spec.model_id not in VOICES:
            message = f"model {key!r}: there is no local voice {spec.model_id!r}; "
            yield "error", (file, (*path, "model_name")), message + near(spec.model_id, VOICES)
            continue
        try:
            media_wire_for(spec).path(spec, with_address(endpoint, environment))
        except ConfigError as error:
            yield "error", (file, (*path, "wire")), str(error)
            continue
        if spec.wire == "speech" and endpoint.managed is None and "voice" not in spec.defaults:
            message = f"model {key!r} speaks with no voice of its own; give it defaults: {{voice: …}}"
            yield "warning", (file, path), message
        if (reason := _unpriced(spec, endpoint)) is not None:
            message = f"model {key!r} has no price, its cost will be unknown: {reason}"
            yield "warning", (file, path), message


def _options(config: Config, modality: MediaModality) -> Iterator[Problem]:
    """Options of tasks, profiles and models that would end every call."""
    file, media = MEDIA_FILES[modality], config.media[modality]
    given: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [
        (("tasks", name, "options"), task.options) for name, task in media.tasks.items()
    ]
    given += [(("models", key, "defaults"), model.defaults) for key, model in media.models.items()]
    given += [
        (("profiles", name, "tasks", task, "options"), rule.options)
        for name, profile in media.profiles.items()
        for task, rule in profile.tasks.items()
    ]
    for path, options in given:
        for name, said in _wrong_options(modality, options):
            yield "error", (file, (*path, *name)), said


def _wrong_options(
    modality: MediaModality, options: Mapping[str, Any]
) -> Iterator[tuple[Sequence[str], str]]:
    """Each option of one place that is wrong with why; where none is, what is wrong with them together."""
    is_wrong = False
    for name, value in options.items():
        try:
            normalise(modality, {name: value})
        except ParamError as error:
            is_wrong = True
            yield (name,), str(error)
    if is_wrong:
        return
    try:
        _REFUSE[modality](normalise(modality, options)[0])
    except ParamError as error:
        yield (), str(error)


def _forced(view: Config, modality: MediaModality, environment: Environment) -> Iterator[Problem]:
    """Variables of this process that force a model which is none, or a task which is none."""
    prefix = f"{modality.upper()}_CLIENT_FORCE_MODEL_KEY"
    tasks = {force_variable(modality, task): task for task in view.media[modality].tasks}
    for name, value in environment.variables.items():
        if not name.startswith(prefix) or not value.strip():
            continue
        if name != prefix and name not in tasks:
            yield "warning", (MEDIA_FILES[modality], ("tasks",)), f"{name} is of no task; {near(name, tasks)}"
        elif view.model_key(value.strip()) is None:
            message = f"{name} names model {value.strip()!r}, which this file does not have; "
            yield "error", (MEDIA_FILES[modality], ("models",)), message + near(value.strip(), view.models)


def _unpriced(spec: ModelSpec, endpoint: Endpoint) -> str | None:
    """Why an answer's cost would be unknown, or None."""
    if spec.wire == "speech":  # its answer is audio and nothing else: no tokens, no cost
        cost, reason = cost_of(spec, endpoint, Usage(), cpu_s=1.0, made=_SAMPLES[_kind(spec)])
        if cost is None:
            return "audio comes without a count of tokens; give it a price per_minute or per_million_chars"
        return None
    if endpoint.type == "openrouter":  # it reports what each answer costs
        return None
    cost, reason = cost_of(spec, endpoint, Usage(1000, 1000), cpu_s=1.0, made=_SAMPLES[_kind(spec)])
    return None if cost is not None else reason.removeprefix("unknown: ")


def _out_of_reach(setup: Setup, modality: MediaModality) -> Iterator[Problem]:
    """Lists of which nothing can be called here: a key, an address or a package is missing."""
    view = setup.config
    lists: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [
        (("tiers", tier), f"tier {tier!r}", names) for tier, names in view.media[modality].tiers.items()
    ]
    lists += [
        (("tasks", name, "models"), f"task {name!r}", task.models)
        for name, task in view.media[modality].tasks.items()
    ]
    for path, label, names in lists:
        keys = [key for name in names if (key := view.model_key(name)) is not None]
        reasons = [_reason(setup, view.models[key]) for key in keys]
        if reasons and all(reasons):
            listed = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
            place = (MEDIA_FILES[modality], path)
            yield "info", place, f"{label}: nothing of it can be called here: {listed}"


def _moved(setup: Setup, modality: MediaModality) -> Iterator[Problem]:
    """Tasks that another model than the first of their list would answer here, which nobody allowed."""
    for name, task in setup.config.media[modality].tasks.items():
        wanted = Wanted(name, modality=modality, allow_fallback=bool(task.allow_fallback))
        try:
            moved = setup.route(wanted).moved
        except RouteError:
            continue  # nothing of it can be called, which is told of its list
        if moved is not None:
            message = f"task {name!r}: {moved.after} answers in place of {moved.before} here: {moved.rule}"
            yield "info", (MEDIA_FILES[modality], ("tasks", name)), message


def _setup(view: Config, environment: Environment) -> Setup:
    """The view with the hosts that can be opened; an address that is refused is told of elsewhere."""
    hosts: dict[str, Host] = {}
    for name, endpoint in view.endpoints.items():
        try:
            hosts[name] = open_host(endpoint, environment)
        except ConfigError:
            continue
    return Setup(view, environment, hosts)


def _reason(setup: Setup, spec: ModelSpec) -> str | None:
    if spec.provider not in setup.hosts:
        return f"the address of provider {spec.provider} is refused"
    reason = setup.unreachable(spec)
    return None if reason is None else reason.replace("llm_router.yaml", MEDIA_FILES[_kind(spec)])


def _kind(spec: ModelSpec) -> MediaModality:
    return "image" if spec.capabilities.mode == "image" else "speech"
