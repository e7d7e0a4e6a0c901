"""Older files of images and speech in the present form: tasks that pin a model, slots that change tiers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.config.model import MEDIA_CODE_FILES, MEDIA_FILES, MediaModality
from llmbench.migration.catalogue import Files, free_key
from llmbench.migration.models import asked_id, guessed_provider, provider_name
from llmbench.migration.reading import Legacy
from llmbench.migration.values import Asked, Keys, section

_MODEL_KEYS: Final = ("model", "model_name", "model_key", "deployment")


def convert_media(legacy: Legacy, files: Files) -> None:
    """Rewrite both media files where a task or slot is in an older form."""
    for kind, name in MEDIA_FILES.items():
        if name in files:
            _MediaFile(kind, legacy, files).convert()


@dataclass(slots=True)
class _MediaFile:
    """One media file as it is rewritten, with its codes."""

    kind: MediaModality
    legacy: Legacy
    files: Files
    name: str = field(init=False)
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.name = MEDIA_FILES[self.kind]
        self.data = self.files[self.name]

    def convert(self) -> None:
        followed = self._follow_models(self.data)
        for profile in section(self.data.get("profiles")).values():
            self._follow_models(profile)
            for task, rule in section(section(profile).get("tasks")).items():
                profile["tasks"][task] = self._rule(self.name, ("profiles", "tasks", task), rule)
        for task, rule in section(self.data.get("tasks")).items():
            self.data["tasks"][task] = self._rule(self.name, ("tasks", task), rule)
        self._convert_slots()
        for task, rule in section(self.data.get("tasks")).items():
            models = _as_list(section(rule).get("models"))
            is_text = bool(models) and all(isinstance(name, str) for name in models)
            if isinstance(rule, dict) and is_text and rule.get("tier") not in list(self._tiers()):
                self._give_tier(task, rule)
            elif isinstance(rule, dict) and not models and rule.get("tier") in followed:
                rule.setdefault("allow_fallback", True)
        for entry in section(self.data.get("models")).values():
            if isinstance(section(entry).get("fallback_model"), str):
                del entry["fallback_model"]  # it stands in the lists now

    def _follow_models(self, part: Any) -> set[str]:
        """Put the `fallback_model` of models behind the tiers of the file or a profile; the tiers."""
        found = set()
        for tier, listed in section(section(part).get("tiers")).items():
            if tails := self._tails(_as_list(listed)):
                part["tiers"][tier] = self._followed(_as_list(listed), tails)
                found.add(tier)
        return found

    def _tails(self, names: list[Any]) -> list[str]:
        """What the entries of the models name as their `fallback_model`."""
        models = section(self.data.get("models"))
        entries = (section(models.get(self._key(name))) for name in names)
        return [tail for entry in entries if isinstance(tail := entry.get("fallback_model"), str)]

    def _followed(self, names: list[Any], tails: list[str]) -> list[Any]:
        """A list with the fallbacks that it does not have at its end."""
        made = list(names)
        for tail in (self._written(tail, None) for tail in tails):
            if self._key(tail) not in {self._key(name) for name in made}:
                made.append(tail)
        return made

    def _part(self, name: str) -> dict[Any, Any]:
        """A section of the file to write into."""
        if not isinstance(self.data.get(name), dict):
            self.data[name] = {}
        part: dict[Any, Any] = self.data[name]
        return part

    def _tiers(self) -> Mapping[Any, Any]:
        return section(self.data.get("tiers"))

    def _rule(self, file: str, path: Keys, rule: Any) -> Any:
        """A task with its models below `models`, the one that it pins first."""
        rule = {"models": rule} if isinstance(rule, (str, list)) else rule
        pinned = [name for key in _MODEL_KEYS if isinstance(name := section(rule).get(key), str) and name]
        listed = _as_list(section(rule).get("models"))
        if not isinstance(rule, Mapping):
            return rule
        for extra in pinned[1:]:
            if extra != pinned[0]:
                self.legacy.lost(file, path, extra, f"the model is named twice; {pinned[0]!r} is used")
        names = [*pinned[:1], *listed]
        if not all(isinstance(name, str) for name in names):
            return rule  # the loader says what is wrong with it
        written = [self._written(name, rule.get("provider")) for name in names]
        own = rule.get("fallback_model") if isinstance(rule.get("fallback_model"), str) else None
        if own and not names:
            reason = "a task without models of its own has no last one"
            self.legacy.lost(file, (*path, "fallback_model"), own, reason)
        tails = [*([own] if own and names else []), *self._tails(names)]
        if not pinned and written == listed and not tails and not own:
            return rule
        gone = {*_MODEL_KEYS, "provider", "models", *(["fallback_model"] if own else [])}
        made = {key: value for key, value in rule.items() if key not in gone}
        if names:
            made["models"] = self._followed(list(dict.fromkeys(written)), tails)
        return {**made, "allow_fallback": made.get("allow_fallback", True)} if tails else made

    def _codes(self) -> Mapping[Any, Any]:
        return section(self.files.get(MEDIA_CODE_FILES[self.kind], {}).get("slots"))

    def _key(self, name: Any) -> Any:
        """The model behind a key, a code, or an id that only one model has; None where there is none."""
        models = section(self.data.get("models"))
        if not isinstance(name, str):
            return None
        code = section(self._codes().get(name)).get("model_key")
        same = [key for key, entry in models.items() if asked_id(key, section(entry)) == name]
        if name in models or (isinstance(code, str) and code in models):
            return name if name in models else code
        return same[0] if len(same) == 1 else None

    def _written(self, name: Any, provider: object) -> Any:
        """A name for a list: itself where it leads to a model, else the key made for it."""
        if self._key(name) is not None:
            return name
        known = section(self.data.get("providers"))
        named = provider_name(provider, known) if isinstance(provider, str) else None
        host = named or guessed_provider(str(name), known)
        if not isinstance(name, str) or host is None:
            return name
        key = free_key(Asked(host, name), {*section(self.data.get("models")), *self._codes()})
        self._part("models")[key] = {"provider": host, "model_name": name}
        self._part("providers").setdefault(host, {})
        return key

    def _give_tier(self, task: str, rule: dict[str, Any]) -> None:
        """A tier for a task that has models and none: one that holds them, else one of their own."""
        if rule.get("tier"):
            reason = f"{self.legacy.files[self.name]} has no such tier; the task keeps its own models"
            self.legacy.lost(self.name, ("tasks", task, "tier"), rule["tier"], reason)
        models = _as_list(rule["models"])
        keys = {self._key(name) for name in models}
        tiers = self._tiers().items()
        fitting = (tier for tier, listed in tiers if keys <= {self._key(name) for name in _as_list(listed)})
        tier = next(fitting, None) or self._free_tier()
        own = self._part("tiers")
        own[tier] = list(dict.fromkeys([*_as_list(own.get(tier)), *models]))
        rule["tier"] = tier

    def _free_tier(self) -> str:
        others = (data for name, data in self.files.items() if name != self.name)
        taken = {*self._tiers(), *(tier for data in others for tier in section(data.get("tiers")))}
        names = (f"{self.kind}{number if number > 1 else ''}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def _convert_slots(self) -> None:
        """Slots that change tasks or tiers become profiles; the default one is written into the file."""
        name = MEDIA_CODE_FILES[self.kind]
        codes = self.files.get(name, {})
        slots = section(codes.get("slots"))
        profiles: dict[str, dict[str, Any]] = {}
        for code, slot in list(slots.items()):
            if {"tasks", "tiers"} & {*section(slot)}:
                profiles[str(code)] = self._profile(name, str(code), slot)
                kept = {key: slot[key] for key in ("model_key", "label") if key in slot}
                codes["slots"] |= {code: kept}
                if "model_key" not in slot:
                    del codes["slots"][code]
        default = codes.pop("default_slot", None)
        if default is not None and str(default) not in profiles:
            reason = "no slot of this name changes a task or tier; it had no effect"
            self.legacy.lost(name, ("default_slot",), default, reason)
        if profiles:
            self.data["profiles"] = {**profiles, **section(self.data.get("profiles"))}
        if str(default) in profiles:
            self._make_default(str(default))
        if codes == {"slots": {}}:
            del self.files[name]

    def _make_default(self, default: str) -> None:
        """Write a profile into the file itself; the other profiles keep what stood there before."""
        chosen = self.data["profiles"][default]
        others = [profile for name, profile in self.data["profiles"].items() if name != default]
        for tier, models in section(chosen.get("tiers")).items():
            own = self._tiers().get(tier)
            self._part("tiers")[tier] = list(models)
            for profile in others if own else ():
                _keep(profile, "tiers", tier, own)
        for task, change in section(chosen.get("tasks")).items():
            rule = section(self.data.get("tasks")).get(task)
            if isinstance(rule, dict) and isinstance(change, Mapping):
                was = {key: copy.deepcopy(rule[key]) for key in ("tier", "models") if key in rule}
                rule.update(change)
                for profile in others:
                    _keep(profile, "tasks", task, was)

    def _profile(self, codes: str, name: str, slot: Mapping[Any, Any]) -> dict[str, Any]:
        for key in slot.keys() - {"label", "tasks", "tiers", "model_key"}:
            self.legacy.lost(codes, ("slots", name, key), slot[key], "no part of a profile")
        made: dict[str, Any] = {"label": slot["label"]} if "label" in slot else {}
        if tiers := section(slot.get("tiers")):
            made["tiers"] = {
                tier: [self._written(model, None) for model in _as_list(models)]
                for tier, models in tiers.items()
            }
            self._follow_models(made)
        if tasks := section(slot.get("tasks")):
            place = ("slots", name, "tasks")
            made["tasks"] = {task: self._rule(codes, (*place, task), rule) for task, rule in tasks.items()}
        return made


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []


def _keep(profile: Any, part: str, name: Any, value: Any) -> None:
    """Let a profile say what stood in the file, unless it has a word of its own."""
    if isinstance(profile, dict) and isinstance(profile.setdefault(part, {}), dict):
        profile[part].setdefault(name, value)
