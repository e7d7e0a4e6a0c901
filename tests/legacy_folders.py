"""Older config folders as one generated description: written as files, and answered by its own few rules.

The rules here are stated anew, over the description and not over the files, so that they can be held against
both the older folder's resolver and the new folder's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import yaml
from hypothesis import strategies as st

TIERS = ("standard", "cheap")
TASKS = ("draft", "caption", "belt", "reading")
#: The files that name models for a task, the one that wins first.
PLACES = ("stages", "templates", "overrides", "sub_tasks", "router", "registry")
PROVIDERS = ("azure", "openrouter", "gemini", "acme")


@dataclass
class Folder:
    """`models`: key -> (provider, id, fallback key). `pins`: (task, place) -> keys, spelled as in `spelt`."""

    models: dict
    shared_fallback: str | None
    pins: dict
    spelt: dict
    tiers: dict
    mapped: dict
    routed: dict
    slots: dict
    default_slot: str | None
    channel: dict
    env: dict
    both: dict
    default_model: str | None
    staged: list = field(default_factory=list)

    def questions(self):
        slots = (None, *self.slots)
        return [(c, e, s) for c in (None, "ch") for e in (None, "prod") for s in slots]

    def route(self, task, channel, env, slot):
        """(provider, id) in order."""
        rules = [self.both] if channel and env else []
        rules += [self.channel] if channel else []
        rules += [self.env] if env else []
        models = next((rule["models"][task] for rule in rules if task in rule["models"]), None)
        is_strict = False
        if models is None:
            models = next((self.pins[task, place] for place in PLACES if (task, place) in self.pins), None)
        plain_tier = self.mapped.get(task) or self.routed.get(task)
        if models is None and task in self.staged and not plain_tier and self.default_model:
            models = [self.default_model]
        if models is None:
            tier = next((rule["tier"][task] for rule in rules if task in rule["tier"]), None)
            tier = tier or plain_tier or "standard"
            chosen = self.slots.get(slot or self.default_slot, {"tiers": {}})
            if tier in chosen["tiers"]:
                models = chosen["tiers"][tier]
                is_strict = slot is not None and not chosen["allow_fallback"]
            else:
                models = self.tiers[tier]
        tails = [self.models[key][2] or self.shared_fallback for key in models]
        asked = dict.fromkeys(self.models[key][:2] for key in (*models, *filter(None, tails)))
        return tuple(asked)[: 1 if is_strict else None]

    def known_tasks(self):
        named = {task for task, _ in self.pins} | {*self.mapped, *self.routed}
        named |= {
            task for rule in (self.channel, self.env, self.both) for task in rule["models"] | rule["tier"]
        }
        return sorted(named | ({*self.staged} if self.default_model else set()))

    def write(self, folder):
        """The description as older files."""
        tasks = {place: {t: keys for (t, p), keys in self.pins.items() if p == place} for place in PLACES}
        router = {
            "providers": {name: {"base_url": f"https://{name}.example"} for name in ("acme",)},
            "tiers": {"cheap": self.tiers["cheap"]},
            "tasks": {task: {"models": keys} for task, keys in tasks["router"].items()},
        }
        for task, tier in self.routed.items():
            router["tasks"].setdefault(task, {})["tier"] = tier
        rules = {"tasks": self.mapped, "overrides": {"channels": {"ch": _override(self.channel)}}}
        rules["overrides"]["channels"]["ch"]["env"] = {"prod": _override(self.both)}
        rules["overrides"]["env"] = {"prod": _override(self.env)}
        registry = {key: {"provider": p, "deployment": i} for key, (p, i, _) in self.models.items()}
        for key, (_, _, tail) in self.models.items():
            if tail:
                registry[key] |= {"fallback_model": tail, "allow_temperature_param": False}
        files = {
            "llm.yml": router,
            "llm_model_registry.yaml": {"models": registry, "fallback_model": self.shared_fallback},
            "llm_model_codes.yaml": {"codes": {f"c_{key}": key for key in self.models}},
            "llm_tier_candidates.yaml": {"tiers": {"standard": self.tiers["standard"]}},
            "llm_tier_mapping.yaml": rules,
            "llm_model_slots.yaml": {"default_slot": self.default_slot, "slots": self.slots},
            "llm_task_overrides.yaml": {
                "tasks": {
                    t: {"models": keys, "system_prompt_override": "x"}
                    for t, keys in tasks["overrides"].items()
                }
            },
            "llm_tasks.yaml": {"tts": {task: self.pin(task, "sub_tasks") for task in tasks["sub_tasks"]}},
            "templates.yaml": {
                "templates": {
                    "short": {"stages": [{"name": t, **self.pin(t, "templates")} for t in tasks["templates"]]}
                }
            },
            "stages.yaml": {
                "default_model": self.default_model,
                "stages": {
                    **{task: {} for task in self.staged},
                    **{task: self.pin(task, "stages") for task in tasks["stages"]},
                },
            },
        }
        for name, data in files.items():
            (folder / name).write_text(yaml.safe_dump(data, sort_keys=False))
        pins = {task: self.pin(task, "registry") for task in tasks["registry"]}
        (folder / "llm_registry.json").write_text(json.dumps(pins))

    def pin(self, task, place):
        """One model and a last one, spelled by key, code, or provider and id."""
        first, *rest = self.pins[task, place]
        provider, model, _ = self.models[first]
        spelt = {
            "key": {"model": first},
            "code": {"model": f"c_{first}"},
            "id": {"provider": provider, "model": model},
        }[self.spelt.get(task, "key")]
        return spelt | ({"fallback_model": rest[0]} if rest else {})


def _override(rule):
    tasks = {task: {"models": keys} for task, keys in rule["models"].items()}
    for task, tier in rule["tier"].items():
        tasks.setdefault(task, {})["tier"] = tier
    return {"tasks": tasks}


@st.composite
def folders(draw):
    """Folders of three to five models and four tasks."""
    keys = [f"m{n}" for n in range(draw(st.integers(3, 5)))]
    some = st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True)
    tail = st.none() | st.sampled_from(keys)
    models = {
        key: (draw(st.sampled_from(PROVIDERS)), f"model-{number}", draw(tail))
        for number, key in enumerate(keys)
    }
    rule = st.fixed_dictionaries(
        {
            "models": st.dictionaries(st.sampled_from(TASKS), some, max_size=1),
            "tier": st.dictionaries(st.sampled_from(TASKS), st.sampled_from(TIERS), max_size=2),
        }
    )
    slot = st.fixed_dictionaries(
        {"tiers": st.dictionaries(st.sampled_from(TIERS), some, max_size=2), "allow_fallback": st.booleans()}
    )
    tier_of = st.dictionaries(st.sampled_from(TASKS), st.sampled_from(TIERS), max_size=3)
    return Folder(
        models=models,
        shared_fallback=draw(tail),
        pins=draw(
            st.dictionaries(st.tuples(st.sampled_from(TASKS), st.sampled_from(PLACES)), some, max_size=6)
        ),
        spelt=draw(
            st.dictionaries(st.sampled_from(TASKS), st.sampled_from(("key", "code", "id")), max_size=4)
        ),
        tiers={tier: draw(some) for tier in TIERS},
        mapped=draw(tier_of),
        routed=draw(tier_of),
        slots={"1": draw(slot), "2": draw(slot)},
        default_slot=draw(st.none() | st.sampled_from(("1", "2"))),
        channel=draw(rule),
        env=draw(rule),
        both=draw(rule),
        default_model=draw(tail),
        staged=draw(st.lists(st.sampled_from(TASKS), unique=True, max_size=2)),
    )
