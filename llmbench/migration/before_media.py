"""What an older file of images or speech answers: its own small rules, read from the file as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmbench.migration.models import asked_id, guessed_provider, provider_name
from llmbench.migration.values import Asked, section

_MODEL_KEYS = ("model", "model_name", "model_key", "deployment")


class BeforeMedia:
    """The rules of one older media file and its short codes.

    A slot or profile changes tasks and whole tiers; `default_slot` holds where none is chosen. A task's own
    models come first, then its tier's.
    """

    def __init__(self, models: object, slots: object) -> None:
        """Take both files as they were read."""
        file, codes = section(models), section(slots)
        self.tasks = {str(task): rule for task, rule in section(file.get("tasks")).items()}
        self._models, self._tiers = section(file.get("models")), section(file.get("tiers"))
        self._providers = section(file.get("providers"))
        self._codes = section(codes.get("slots"))
        profiles = {**self._codes, **section(file.get("profiles"))}.items()
        changing = {str(name): section(slot) for name, slot in profiles}
        self._slots = {name: slot for name, slot in changing.items() if {"tasks", "tiers"} & {*slot}}
        self._default = str(codes.get("default_slot"))

    @property
    def slots(self) -> list[str]:
        """The slots and profiles that change a route."""
        return list(self._slots)

    def route(self, task: str, slot: str | None) -> tuple[Asked, ...]:
        """The models of a task in order; none where the files have no answer."""
        chosen = self._slots.get(slot if slot in self._slots else self._default, {})
        own, change = self._rule(task), _as_rule(section(chosen.get("tasks")).get(task))
        tiers = {**self._tiers, **section(chosen.get("tiers"))}
        said = _names(change) or ([] if change.get("tier") else _names(own))
        tier = change.get("tier") or own.get("tier")
        names = said or _as_list(tiers.get(tier) if isinstance(tier, str) else None)
        provider = change.get("provider") or own.get("provider") if said else None
        found = (self._asked(name, provider) for name in names if isinstance(name, str))
        return tuple(dict.fromkeys(asked for asked in found if asked is not None))

    def options(self, task: str) -> dict[str, Any]:
        """What the file says of a task besides its models: options, `timeout`, and `allow_fallback`."""
        rule = self._rule(task)
        timeout = rule.get("timeout")
        said = {} if timeout is None else {"timeout": timeout}
        return {**section(rule.get("options")), **said, "allow_fallback": rule.get("allow_fallback") is True}

    def _rule(self, task: str) -> Mapping[Any, Any]:
        return _as_rule(self.tasks.get(task))

    def _asked(self, name: str, provider: Any) -> Asked | None:
        code = self._codes.get(name)
        target = code if isinstance(code, str) else section(code).get("model_key")
        same = [key for key, entry in self._models.items() if asked_id(key, section(entry)) == name]
        known = [each for each in (name, target) if isinstance(each, str) and each in self._models]
        key = known[0] if known else None
        key = same[0] if key is None and len(same) == 1 else key
        if key is not None:
            entry = section(self._models[key])
            return Asked(
                provider_name(str(entry.get("provider", "")), self._providers), asked_id(str(key), entry)
            )
        host = (
            provider_name(provider, self._providers)
            if isinstance(provider, str)
            else guessed_provider(name, self._providers)
        )
        return None if host is None else Asked(host, name)


def _as_rule(rule: object) -> Mapping[Any, Any]:
    return {"models": rule} if isinstance(rule, (str, list)) else section(rule)


def _names(rule: Mapping[Any, Any]) -> list[Any]:
    single = next((rule[key] for key in _MODEL_KEYS if rule.get(key)), None)
    return [*_as_list(single), *_as_list(rule.get("models"))]


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []
