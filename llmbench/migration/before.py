"""What an older folder answers: a small resolver of its rules, which knows nothing of the new files.

Which entry wins is decided here alone. How one entry of a text task is read (its forms and spellings) is
shared with the plan, so a comparison cannot show an error in that; tests hold it against rules that are
stated anew over generated folders. Images, speech, and how a model is asked are read on their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeGuard

from llmbench.config.model import MEDIA_CODE_FILES, MEDIA_FILES
from llmbench.migration.before_media import BeforeMedia
from llmbench.migration.models import asked_id, guessed_provider, provider_name
from llmbench.migration.reading import Legacy
from llmbench.migration.task_files import read_tasks
from llmbench.migration.tasks import ROUTER, Entry, Named, read_task
from llmbench.migration.values import Asked, Keys, Losses, as_flag, section

STANDARD: Final = "standard"


@dataclass(frozen=True, slots=True)
class Question:
    """What may change a route besides the task."""

    channel: str | None = None
    env: str | None = None
    slot: str | None = None

    def __str__(self) -> str:
        places = (("channel", self.channel), ("env", self.env), ("slot", self.slot))
        said = [f"{name} {value}" for name, value in places if value is not None]
        return ", ".join(said) or "no channel, env or slot"


class Before:
    """The rules of an older folder.

    First hit: an override of the channel or env, the entries of the task in their order, the slot, the tier.
    A slot that a person chose is strict unless it says `allow_fallback`; a `fallback_model` comes last.
    """

    def __init__(self, legacy: Legacy) -> None:
        """Take the files as they were read."""
        files = legacy.data
        self._router = section(files.get(ROUTER))
        self._providers = section(self._router.get("providers"))
        registry = section(files.get("llm_model_registry.yaml"))
        self._fallback = registry.get("fallback_model")
        self._models: dict[str, Any] = {
            **section(self._router.get("models")),
            **section(registry.get("models")),
        }
        self._codes = section(section(files.get("llm_model_codes.yaml")).get("codes"))
        candidates = section(files.get("llm_tier_candidates.yaml"))
        self._tiers = section(candidates.get("tiers"))
        self.tier_defaults = section(candidates.get("defaults"))
        mapping = section(files.get("llm_tier_mapping.yaml"))
        self._mapping = section(mapping.get("tasks"))
        self._overrides = section(mapping.get("overrides"))
        slots = section(files.get("llm_model_slots.yaml"))
        self._slots = {str(name): section(slot) for name, slot in section(slots.get("slots")).items()}
        default = slots.get("default_slot")
        self._default_slot = None if default is None else str(default)
        self._media = [
            BeforeMedia(files.get(name), files.get(MEDIA_CODE_FILES[kind]))
            for kind, name in MEDIA_FILES.items()
        ]
        self._tasks = read_tasks(legacy)
        silent = replace(legacy, losses=Losses())  # what these sections lose is said where they are written
        self._ruled = {
            place: {
                str(task): read_task(silent, "llm_tier_mapping.yaml", (), str(task), entry or {})
                for task, entry in section(rule.get("tasks")).items()
            }
            for place, rule in self._all_overrides()
        }

    def tasks(self) -> list[str]:
        """Every task that a file names, sorted."""
        media = {task for file in self._media for task in file.tasks}
        channels = {str(task) for _, rule in self._all_overrides() for task in section(rule.get("tasks"))}
        return sorted({*self._tasks, *map(str, self._mapping), *media, *channels})

    def questions(self) -> list[Question]:
        """Every channel, env and slot, alone and together."""
        channels = section(self._overrides.get("channels"))
        envs = {str(env) for env in section(self._overrides.get("env"))}
        envs |= {str(env) for rule in channels.values() for env in section(section(rule).get("env"))}
        return [
            Question(channel, env, slot)
            for channel in (None, *sorted(map(str, channels)))
            for env in (None, *sorted(envs))
            for slot in (None, *sorted(self._slots))
        ]

    def media_slots(self) -> set[Question]:
        """Every slot of images and speech that changes a route."""
        return {Question(slot=name) for file in self._media for name in file.slots}

    def entries(self, task: str) -> list[Entry]:
        """What the files say of a text task, the one that wins first."""
        return self._tasks.get(task, [])

    def winner(self, task: str) -> Entry | None:
        """The entry whose models a task has; None where its tier decides. A default gives way to a tier."""
        has_tier = self.names_tier(task)
        entries = (entry for entry in self.entries(task) if entry.names)
        return next((entry for entry in entries if not (entry.is_default and has_tier)), None)

    def media(self, task: str) -> BeforeMedia | None:
        """The file of images or speech that has the task; None for a text task."""
        return next((file for file in self._media if task in file.tasks), None)

    def decider(self, task: str) -> tuple[str, Keys] | None:
        """File and path of what names the models of a task; None where its tier does."""
        media = self.media(task)
        if media is None:
            winner = self.winner(task)
            return None if winner is None else (winner.file, winner.path)
        kind = list(MEDIA_FILES)[self._media.index(media)]
        return {
            "models": (MEDIA_FILES[kind], ("tasks", task)),
            "slots": (MEDIA_CODE_FILES[kind], ("slots", media.default_slot, "tasks", task)),
            None: None,
        }[media.decides(task)]

    def route(self, task: str, question: Question) -> tuple[Asked, ...]:
        """The models of a task in order; none where the folder has no answer."""
        media = self.media(task)
        return tuple(self.candidates(task, question)) if media is None else media.route(task, question.slot)

    def candidates(self, task: str, question: Question) -> dict[Asked, str | None]:
        """The models of a text task in order, each with its key in the registry if it has one."""
        names, listed, is_strict = self._names(task, question)
        found: dict[Asked, str | None] = {}
        for name in (*names, *self._tails(listed)):
            asked = self.asked(name)
            if asked is not None and not (is_strict and found):
                found.setdefault(asked, self.key_of(name))
        return found

    def bodies(self, task: str, question: Question) -> list[Mapping[str, Any]]:
        """What the files say of a text task besides its models, what wins first."""
        ruled = [entry for rule in self._ruled_by(question) if (entry := rule.get(task)) is not None]
        return [entry.body for entry in (*ruled, *self.entries(task))]

    def model(self, key: str | None) -> Mapping[Any, Any]:
        """The registry's entry of a key."""
        return section(self._models.get(key or ""))

    def provider(self, name: str) -> Mapping[Any, Any]:
        """The section of a provider; empty where no file has one."""
        return section(self._providers.get(name))

    def tier(self, task: str, question: Question) -> str:
        """The tier of a text task."""
        named = self._named_tier(task, question)
        return named or STANDARD

    def names_tier(self, task: str) -> bool:
        """Whether a file names a tier for the task, without channel or environment."""
        return self._named_tier(task, Question()) is not None

    def asked(self, name: Named) -> Asked | None:
        """Provider and id behind a name; None where nothing says who serves it."""
        key = self.key_of(name)
        if key is not None:
            return self._of_key(key)
        provider = self._host(name)
        return None if provider is None else Asked(provider, name.model)

    def key_of(self, name: Named) -> str | None:
        """The registry's key behind a name. Beside a provider it counts only if it is of that provider.

        An id that several models of the provider have is the first one's.
        """
        key = self.key(name.model)
        if name.provider is None and key is not None:
            return key
        wanted = Asked(self._host(name) or "", name.model)
        if key is not None and self._of_key(key).provider == wanted.provider:
            return key
        return next((key for key in self._models if self._of_key(key) == wanted), None)

    def _host(self, name: Named) -> str | None:
        """The provider that is named, or that the form of the id tells."""
        if name.provider:
            return provider_name(name.provider, self._providers)
        return guessed_provider(name.model, self._providers)

    def key(self, name: str) -> str | None:
        """The registry's key behind a key, a code, or an id that only one model has."""
        if name in self._models:
            return name
        code = self._codes.get(name)
        target = code if isinstance(code, str) else section(code).get("model_key")
        if target in self._models:
            return str(target)
        same = [key for key, entry in self._models.items() if asked_id(key, section(entry)) == name]
        return same[0] if len(same) == 1 else None

    def _of_key(self, key: str) -> Asked:
        entry = section(self._models[key])
        provider = provider_name(str(entry.get("provider", "")), self._providers)
        return Asked(provider, asked_id(key, entry))

    def _all_overrides(self) -> Iterator[tuple[tuple[str | None, str | None], Mapping[Any, Any]]]:
        for channel, rule in section(self._overrides.get("channels")).items():
            for env, both in section(section(rule).get("env")).items():
                yield (str(channel), str(env)), section(both)
            yield (str(channel), None), section(rule)
        for env, rule in section(self._overrides.get("env")).items():
            yield (None, str(env)), section(rule)

    def _applying(self, question: Question) -> list[Mapping[Any, Any]]:
        rules = dict(self._all_overrides())
        return [rules[place] for place in self._places(question) if place in rules]

    def _ruled_by(self, question: Question) -> list[Mapping[str, Entry]]:
        return [self._ruled[place] for place in self._places(question) if place in self._ruled]

    @staticmethod
    def _places(question: Question) -> list[tuple[str | None, str | None]]:
        """Where overrides of a question stand: channel and env together, then the channel, then the env."""
        channel, env = question.channel, question.env
        wanted: list[tuple[str | None, str | None]] = []
        if channel and env:
            wanted.append((channel, env))
        wanted += [(channel, None)] if channel else []
        return wanted + ([(None, env)] if env else [])

    def _named_tier(self, task: str, question: Question) -> str | None:
        own = [entry for rule in self._ruled_by(question) if (entry := rule.get(task)) is not None]
        entries = {entry.file: entry.tier for entry in reversed(self.entries(task)) if entry.tier}
        places = [
            *(entry.tier for entry in own),
            entries.pop("llm_task_overrides.yaml", None),
            self._mapping.get(task),
            entries.pop(ROUTER, None),
            *reversed(entries.values()),
        ]
        return next((str(tier) for tier in places if tier), None)

    def _names(self, task: str, question: Question) -> tuple[list[Named], list[Named], bool]:
        """The names that apply, all that the list has, and whether only the first may answer."""
        for ruled in self._ruled_by(question):
            if task in ruled and ruled[task].names:
                return list(ruled[task].names), list(ruled[task].names), False
        if (winner := self.winner(task)) is not None:
            return list(winner.names), list(winner.names), False
        tier = self.tier(task, question)
        slot = self._slots.get(question.slot or self._default_slot or "", {})
        chosen = section(slot.get("tiers")).get(tier)
        if chosen:
            names = _listed(chosen)
            return names, names, question.slot is not None and slot.get("allow_fallback") is not True
        lists = [section(rule.get("tiers")).get(tier) for rule in self._applying(question)]
        lists += [self._tiers.get(tier), section(self._router.get("tiers")).get(tier)]
        listed: Any = next((each for each in lists if each), [])
        entries = _conditions(listed)
        met = [name for name, rule in entries if self._meets(name, rule)]
        return met, [name for name, _ in entries], False

    def _meets(self, name: Named, condition: Mapping[Any, Any]) -> bool:
        """Whether a tier's candidate has what its entry asks for."""
        key = self.key(name.model)
        can = section(section(self._models.get(key or "")).get("capabilities"))
        least = condition.get("min_context_tokens")
        if isinstance(least, int) and (can.get("context_tokens") or 0) < least:
            return False
        reasons = bool(as_flag(can.get("reasoning")) or can.get("reasoning_levels"))
        facts = {"structured_outputs": bool(as_flag(can.get("structured_outputs"))), "reasoning": reasons}
        return all(condition.get(fact) in (None, value) for fact, value in facts.items())

    def _tails(self, names: list[Named]) -> list[Named]:
        """The `fallback_model` of each candidate, or the registry's for all."""
        tails = [self.model(self.key_of(name)).get("fallback_model") or self._fallback for name in names]
        return [Named(None, tail) for tail in dict.fromkeys(filter(_is_text, tails))]


def _listed(value: Any) -> list[Named]:
    entries = [value] if isinstance(value, str) else value
    return [Named(None, name) for name in entries if isinstance(name, str)]


def _conditions(value: Any) -> list[tuple[Named, Mapping[Any, Any]]]:
    entries = [value] if isinstance(value, str) else value
    return [
        (Named(None, str(entry.get("model"))), entry)
        if isinstance(entry, Mapping)
        else (Named(None, entry), {})
        for entry in entries
        if isinstance(entry, (str, Mapping))
    ]


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)
