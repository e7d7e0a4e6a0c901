"""`llmbench check`: everything that can be said of a config folder before its first call.

The config package says what is wrong in and between the files. This module adds what other parts know: list
prices, local models, wires, addresses and keys of this environment, sweep plans, and text that is a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmbench.bounded import MAX_CONFIG_BYTES, read_bytes, read_text
from llmbench.catalog import Endpoint, ModelSpec
from llmbench.check_media import media_problems
from llmbench.config.environment import Environment, read_environment
from llmbench.config.key_names import is_key_header, variable_named, without_address_keys
from llmbench.config.load import config_folder, inspect_sources, read_source
from llmbench.config.media_view import media_config
from llmbench.config.model import FILES, MEDIA_FILES, Config, Finding
from llmbench.config.places import (
    ROUTER,
    CandidateList,
    Place,
    Problem,
    home,
    located,
    near,
    slot_lists,
    task_lists,
    tier_lists,
)
from llmbench.config.shapes import ProviderShape
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError, SweepError
from llmbench.messages import Usage
from llmbench.pricing import cost_of
from llmbench.providers.hosts import Host, open_host
from llmbench.providers.local_models import MODELS
from llmbench.providers.send import speaks, wire_for
from llmbench.routing.setup import Setup
from llmbench.telemetry import Redactor

if TYPE_CHECKING:
    from llmbench.bench.plan_file import TierOf

#: A model that expires within so many days is worth a word.
SOON_DAYS: Final = 30
_ORDER: Final = {"error": 0, "warning": 1, "info": 2}
#: 32 hexadecimal digits (the form of Azure's older keys) under such a name.
_HEX_KEY: Final = re.compile(
    r"(?i)(?:key|token|secret|authorization)[\w-]*['\"]?\s*[:=]\s*['\"]?(?:bearer\s+)?[0-9a-f]{32}\b"
)
_PLACE: Final = re.compile(r"(?P<path>[^\s:]+\.ya?ml)(?::(?P<line>\d+))?: (?P<message>.*)", re.DOTALL)
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")

Sources = Mapping[str, YamlSource]


def check_folder(
    folder: str | Path, *, variables: Mapping[str, str] | None = None, today: date | None = None
) -> list[Finding]:
    """Every finding about a config folder, errors first; no key that stands in a file is repeated.

    Args:
        folder: the config folder.
        variables: environment variables; the process's own by default.
        today: the date that models expire against; today's in UTC by default.

    Raises:
        ConfigError: there is no such folder, or it holds no config file.
    """
    root = config_folder(folder)
    environment = read_environment(variables)
    sources, findings = _read_all(root)
    config: Config | None = None
    if not findings:
        config, found = inspect_sources(root, sources)
        findings += found
        if not any(finding.severity == "error" for finding in findings):
            problems = _beyond_the_files(config, sources, environment, today or datetime.now(UTC).date())
            findings += located(problems, sources)
            findings += _sweep_plans(root, config, environment)
    findings += located(_literal_keys(sources), sources)
    redact = Redactor(_known_secrets(config, environment))
    findings += [*_secrets(root, redact), *_unread_files(root)]
    findings = [replace(finding, message=redact(finding.message)) for finding in findings]
    return sorted(findings, key=lambda each: (_ORDER[each.severity], each.path, each.line or 0))


def as_finding(error: ConfigError | SweepError) -> Finding:
    """An error that names its file and line in its text, as a finding."""
    found = _PLACE.fullmatch(str(error))
    if found is None:
        return Finding("error", getattr(error, "path", None) or "", None, str(error))
    line = found["line"]
    return Finding("error", found["path"], int(line) if line else None, found["message"])


def _read_all(root: Path) -> tuple[dict[str, YamlSource], list[Finding]]:
    """Every file that can be read, and a finding for each that cannot."""
    sources, findings = {}, []
    for name in FILES:
        try:
            sources[name] = read_source(root, name)
        except ConfigError as error:
            findings.append(as_finding(error))
    return sources, findings


def _beyond_the_files(
    config: Config, sources: Sources, environment: Environment, today: date
) -> Iterator[Problem]:
    hosts: dict[str, Host] = {}
    yield from _addresses(config, environment, hosts)
    yield from _expiry(config, sources, today)
    yield from _prices(config, sources)
    yield from _local_names(config, sources)
    yield from _wires(config, sources, environment)
    yield from _out_of_reach(config, Setup(config, environment, hosts))
    yield from media_problems(config, environment, _with_address)


def _endpoints(config: Config) -> Iterator[tuple[str, str, Endpoint]]:
    """Every provider with its file: the text models' and those of the media files."""
    for name, endpoint in config.endpoints.items():
        yield ROUTER, name, endpoint
    for modality, media in config.media.items():
        for name, endpoint in media.endpoints.items():
            yield MEDIA_FILES[modality], name, endpoint


def _dates(config: Config, sources: Sources) -> Iterator[tuple[Place, str, str]]:
    """Every model that expires, with the place and the text of its date."""
    for key, spec in config.models.items():
        if spec.expires is not None:
            yield home(sources, key), key, spec.expires
    for modality, media in config.media.items():
        for key, model in media.models.items():
            if model.expires is not None:
                yield (MEDIA_FILES[modality], ("models", key)), key, model.expires


def _addresses(config: Config, environment: Environment, hosts: dict[str, Host]) -> Iterator[Problem]:
    """Addresses that no key may be sent to. Fills in the text models' hosts that can be opened."""
    for file, name, endpoint in _endpoints(config):
        try:
            host = open_host(endpoint, environment)
        except ConfigError as error:
            yield "error", (file, ("providers", name, "base_url")), as_finding(error).message
        else:
            if file == ROUTER:
                hosts[name] = host


def _literal_keys(sources: Sources) -> Iterator[Problem]:
    """Headers and unknown keys of providers that hold a key by their names, whatever it looks like.

    The files are read as they are: a file that cannot be used for another reason may hold a key too.
    """
    for file in (ROUTER, *MEDIA_FILES.values()):
        for name, section in _mapping(sources[file].data.get("providers") if file in sources else None):
            where, place = f"provider {name!r}:", ("providers", name)
            for header, value in _mapping(_mapping_of(section).get("headers")):
                if is_key_header(header) and str(value or "").strip():
                    message = f"{where} the header {header!r} holds a key; name its variable in env_api_key"
                    yield "error", (file, (*place, "headers", header)), message
            for key, value in _mapping(section):
                if key not in ProviderShape.model_fields and is_key_header(key) and _is_literal(value):
                    message = f"{where} {key!r} holds a key; name its variable in env_api_key"
                    yield "error", (file, (*place, key)), message


def _mapping_of(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _mapping(value: object) -> Iterator[tuple[str, object]]:
    """The items of what should be a mapping, under names that are texts."""
    yield from ((key, item) for key, item in _mapping_of(value).items() if isinstance(key, str))


def _is_literal(value: object) -> bool:
    """Whether a value, or one of a list, is a text other than the name of a variable."""
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, str) and text.strip() and not variable_named(text) for text in texts)


def _expiry(config: Config, sources: Sources, today: date) -> Iterator[Problem]:
    for (file, path), key, expires in _dates(config, sources):
        place = (file, (*path, "expires"))
        try:
            left = (date.fromisoformat(expires) - today).days
        except ValueError:
            yield "warning", place, f"model {key!r}: expires {expires!r} is no date; write YYYY-MM-DD"
            continue
        if left < 0:
            yield "warning", place, f"model {key!r} expired on {expires}; put another in its place"
        elif left <= SOON_DAYS:
            yield "warning", place, f"model {key!r} expires on {expires}, in {left} days; plan another"


def _prices(config: Config, sources: Sources) -> Iterator[Problem]:
    """Models whose replies would have an unknown cost: no price in the registry, none in the lists."""
    for key, spec in config.models.items():
        endpoint = config.endpoints[spec.provider]
        has_other_unit = spec.capabilities.mode != "text" and spec.price is not None
        if endpoint.type == "openrouter" or has_other_unit:  # OpenRouter reports what each reply costs
            continue
        cost, reason = cost_of(spec, endpoint, Usage(1000, 1000), cpu_s=1.0)
        if cost is None:
            message = f"model {key!r} has no price, its cost will be unknown: "
            yield "warning", home(sources, key), message + reason.removeprefix("unknown: ")


def _local_names(config: Config, sources: Sources) -> Iterator[Problem]:
    for key, spec in config.models.items():
        if config.endpoints[spec.provider].managed == "embedded" and spec.model_id not in MODELS:
            file, path = home(sources, key)
            message = f"model {key!r}: there is no local model {spec.model_id!r}; "
            yield "error", (file, (*path, "model_name")), message + near(spec.model_id, MODELS)


def _wires(config: Config, sources: Sources, environment: Environment) -> Iterator[Problem]:
    """Wires that this version lacks, and API versions that a wire's path cannot be built with."""
    for key, spec in config.models.items():
        file, path = home(sources, key)
        kind = spec.capabilities.mode
        if kind != "text":
            message = f"model {key!r} can never be used here: it is of the kind {kind}; "
            yield "warning", (file, path), f"{message}put it into {MEDIA_FILES[kind]}"
            continue
        if not speaks(spec):
            message = f"model {key!r} can never be used: this version does not speak its wire {spec.wire!r}"
            yield "warning", (file, (*path, "wire")), message
            continue
        endpoint = _with_address(config.endpoints[spec.provider], environment)
        try:
            wire_for(spec).path(spec, endpoint)
        except ConfigError as error:
            own = (file, (*path, "api_version"))
            shared = (ROUTER, ("providers", spec.provider, "default_api_version"))
            yield "error", own if own[1] in sources[file] else shared, as_finding(error).message


def _with_address(endpoint: Endpoint, environment: Environment) -> Endpoint:
    """The endpoint with the address that a call would use: the path depends on how it ends."""
    named = environment.secret(endpoint.env_endpoint) if endpoint.env_endpoint else None
    return replace(endpoint, base_url=named or endpoint.base_url)


def _out_of_reach(config: Config, setup: Setup) -> Iterator[Problem]:
    """Lists of which nothing can be called here: a key, an address or a package is missing."""
    for entries in chain(tier_lists(config), slot_lists(config), task_lists(config)):
        reasons = _reasons(config, setup, entries)
        if reasons and all(reasons):
            listed = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
            yield "info", entries.place, f"{entries.label}: nothing of it can be called here: {listed}"


def _reasons(config: Config, setup: Setup, entries: CandidateList) -> list[str | None]:
    keys = [config.model_key(candidate.model) for candidate in entries.candidates]
    return [_reason(setup, config.models[key]) for key in keys if key]


def _reason(setup: Setup, spec: ModelSpec) -> str | None:
    if spec.provider not in setup.hosts:  # it is known, or the files would have had an error
        return f"the address of provider {spec.provider} is refused"
    return setup.unreachable(spec)


def _sweep_plans(root: Path, config: Config, environment: Environment) -> Iterator[Finding]:
    """Plans that cannot be read, and their candidates that no registry has."""
    from llmbench.bench.plan_file import read_plan_file

    for path in sorted((root / "sweeps").glob("*.yaml")):
        name = f"sweeps/{path.name}"
        try:
            plan = read_plan_file(path)
        except (ConfigError, SweepError) as error:
            yield replace(as_finding(error), path=name)
            continue
        source = parse_yaml(read_text(path), name)
        kind = next((kind for task in plan.tasks if (kind := config.media_of(task=task, tier=""))), None)
        served = config if kind is None else media_config(config, kind, environment)
        for task in ("", *plan.tasks):
            keys = ("tasks", task, "candidates") if task else ("candidates",)
            shape = plan.tasks.get(task)
            named = (shape and shape.candidates) if task else plan.candidates
            for index, entry in enumerate(named or ()):  # without an own list the plan's, which is read once
                place = source.place((*keys, index))
                yield from (Finding("error", *place, text) for text in _unknown_names(entry, served))


def _unknown_names(entry: str | list[str] | TierOf, config: Config) -> Iterator[str]:
    """What is wrong with the names in a plan's candidate."""
    if not isinstance(entry, str | list):
        tiers = config.all_tiers()
        if entry.tier not in tiers:
            yield f"the plan names tier {entry.tier!r}, which no file has; {near(entry.tier, tiers)}"
        return
    for model in [entry] if isinstance(entry, str) else entry:
        if config.model_key(model) is None:
            yield f"the plan names model {model!r}, which no registry has; {near(model, config.models)}"


def _known_secrets(config: Config | None, environment: Environment) -> list[str]:
    """The values of the key variables that the config names."""
    endpoints = {} if config is None else config.endpoints
    names = [name for endpoint in endpoints.values() for name in endpoint.env_api_keys]
    return [value for name in names if (value := environment.secret(name))]


def _secrets(root: Path, redact: Redactor) -> Iterator[Finding]:
    """Lines of any YAML file that hold a key. In a comment the word bearer alone is no sign of one."""
    for path in sorted([*root.rglob("*.yaml"), *root.rglob("*.yml")]):
        try:
            lines = read_bytes(path, MAX_CONFIG_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            continue  # a config file that cannot be read is a finding already
        for number, line in enumerate(lines, start=1):
            text = _COMMENT.sub(lambda found: re.sub("(?i:bearer)", "", found[0]), line)
            if redact(text) != text or _HEX_KEY.search(line) or without_address_keys(line) != line:
                message = "this line holds a key; set it as an environment variable and name that here"
                yield Finding("error", path.relative_to(root).as_posix(), number, message)


def _unread_files(root: Path) -> Iterator[Finding]:
    """Files that look like config files and are none."""
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        if path.name.replace(".local.yaml", ".yaml") in FILES:
            continue
        close = difflib.get_close_matches(path.name, FILES, n=1, cutoff=0.9)
        if close:
            yield Finding("warning", path.name, None, f"this file is not read; did you mean {close[0]!r}?")
