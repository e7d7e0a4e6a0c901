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
    models come first, then its tier's. The `fallback_model` of the rule that names the models comes last, and
    those of the models after it.
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
        self.default_slot = str(codes.get("default_slot"))

    @property
    def slots(self) -> list[str]:
        """The slots and profiles that change a route."""
        return list(self._slots)

    def route(self, task: str, slot: str | None) -> tuple[Asked, ...]:
        """The models of a task in order; none where the files have no answer."""
        names, rule = self._said(task, slot)
        provider = (rule.get("provider") or self._rule(task).get("provider")) if rule else None
        found = [self._asked(name, provider) for name in names]
        found += [self._asked(name, None) for name in self._tails(names, rule)]
        return tuple(dict.fromkeys(asked for asked in found if asked is not None))

    def decides(self, task: str) -> str | None:
        """Which file names the models of a task without a slot, `models` or `slots`; None: its tier does."""
        change = _as_rule(section(self._slots.get(self.default_slot, {}).get("tasks")).get(task))
        if _names(change):
            return "slots" if self.default_slot in self._codes else "models"
        return "models" if _names(self._rule(task)) and not change.get("tier") else None

    def options(self, task: str) -> dict[str, Any]:
        """What the file says of a task besides its models: options, `timeout`, and `allow_fallback`.

        A `fallback_model` was there to answer, so that it allows a fallback unless the task says no.
        """
        rule = self._rule(task)
        timeout = rule.get("timeout")
        said = {} if timeout is None else {"timeout": timeout}
        allows = rule.get("allow_fallback")
        if allows is None:
            allows = bool(self._tails(*self._said(task, None)))
        return {**section(rule.get("options")), **said, "allow_fallback": allows is True}

    def _said(self, task: str, slot: str | None) -> tuple[list[str], Mapping[Any, Any]]:
        """The names of a task without fallbacks, and the rule that has them; an empty one for a tier."""
        chosen = self._slots.get(slot if slot in self._slots else self.default_slot, {})
        own, change = self._rule(task), _as_rule(section(chosen.get("tasks")).get(task))
        tiers = {**self._tiers, **section(chosen.get("tiers"))}
        tier = change.get("tier") or own.get("tier")
        rule = change if _names(change) else own if _names(own) and not change.get("tier") else {}
        names = _names(rule) or _as_list(tiers.get(tier) if isinstance(tier, str) else None)
        return [name for name in names if isinstance(name, str)], rule

    def _tails(self, names: list[str], rule: Mapping[Any, Any]) -> list[str]:
        keys = [self._key(name) for name in names]
        entries = [rule, *(section(self._models[key]) for key in keys if key is not None)]
        tails = (entry.get("fallback_model") for entry in entries)
        return [tail for tail in tails if isinstance(tail, str) and names]

    def _rule(self, task: str) -> Mapping[Any, Any]:
        return _as_rule(self.tasks.get(task))

    def _key(self, name: str) -> str | None:
        """The entry behind a key, a code, or an id that only one entry has."""
        code = self._codes.get(name)
        target = code if isinstance(code, str) else section(code).get("model_key")
        same = [str(key) for key, entry in self._models.items() if asked_id(key, section(entry)) == name]
        known = [each for each in (name, target) if isinstance(each, str) and each in self._models]
        return known[0] if known else same[0] if len(same) == 1 else None

    def _asked(self, name: str, provider: Any) -> Asked | None:
        key = self._key(name)
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
