"""A generated older folder as its files, in the spellings that older files have."""

from __future__ import annotations

import json

import yaml

from tests.legacy_folders import PLACES, Folder

#: How each place spells an output limit; the other parameters are spelled by `options`.
LIMITS = {
    "stages": "max_output_tokens",
    "templates": "max_tokens",
    "overrides": "max_completion_tokens",
    "sub_tasks": "max_tokens",
    "router": "max_output_tokens",
    "registry": "max_output_tokens",
}


def write_folder(folder: Folder, path) -> None:
    """The description as older files, with its overlays."""
    files = {**_router(folder), **_lists(folder), **_tasks(folder), **_images(folder)}
    for name, data in files.items():
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        (path / name).write_text(f"# {name}: 古い設定\n{text}", encoding="utf-8")
    registry = {task: entry(folder, task, "registry") for task in pinned(folder, "registry")}
    (path / "llm_registry.json").write_text(json.dumps(registry), encoding="utf-8")
    (path / "openrouter_models.json").write_text(json.dumps({"data": list(map(_row, folder.rows))}))
    for name, data in _overlays(folder).items():
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        (path / name).write_text(f"# この機械だけ\n{text}", encoding="utf-8")


def pinned(folder: Folder, place: str) -> list[str]:
    """The tasks that a place says something of."""
    return list(dict.fromkeys(task for task, at in (*folder.pins, *folder.options) if at == place))


def entry(folder: Folder, task: str, place: str) -> dict:
    """One task in one file: models in the place's form, options in its spelling."""
    made = {}
    if keys := folder.pins.get((task, place)):
        made = {"models": keys} if place in ("overrides", "router") else pin(folder, task, keys)
    return made | options(folder.options.get((task, place), {}), place)


def pin(folder: Folder, task: str, keys: list[str]) -> dict:
    """One model and a last one, spelled by key, code, or provider and id."""
    first, *rest = keys
    model = folder.models[first]
    spelt = "id" if not model.is_listed else folder.spelt.get(task, "key")
    made = {
        "key": {"model": first},
        "code": {"model": f"c_{first}"},
        "id": {"provider": model.provider, "model": model.id},
    }[spelt]
    last = folder.models[rest[0]] if rest else None
    return made | ({"fallback_model": rest[0] if last.is_listed else last.id} if last else {})


def options(given: dict, place: str) -> dict:
    """Options by the names of a place; `llm_task_overrides.yaml` asks for reasoning as OpenRouter does."""
    given = dict(given)
    made = {}
    if "max_tokens" in given:
        made[LIMITS[place]] = given.pop("max_tokens")
    if "reasoning" in given and place == "registry":
        made["thinkingLevel"] = given.pop("reasoning").upper()
    if "reasoning" in given and place == "overrides":
        made["extra_body"] = {"reasoning": {"effort": given.pop("reasoning")}, **given.pop("extra_body", {})}
    prompt, timeout = given.pop("system_prompt", None), given.pop("timeout", None)
    made |= given
    section = {"overrides": "options", "router": "defaults", "templates": "params"}.get(place)
    whole = {section: made} if section and made else made
    whole |= {} if timeout is None else {"timeout": timeout}
    name = "system_prompt_override" if place == "overrides" else "system_prompt"
    return whole | ({} if prompt is None else {name: prompt})


def _candidates(listed) -> list:
    return [{"model": key, **condition} if condition else key for key, condition in listed]


def _override(rule: dict) -> dict:
    tasks = {task: {"models": keys} for task, keys in rule["models"].items()}
    for task, tier in rule["tier"].items():
        tasks.setdefault(task, {})["tier"] = tier
    for task, given in rule["options"].items():
        tasks.setdefault(task, {})["options"] = dict(given)
    return {"tasks": tasks, "tiers": {tier: _candidates(listed) for tier, listed in rule["tiers"].items()}}


def _router(folder: Folder) -> dict:
    router = {
        "providers": {"acme": {"base_url": "https://acme.example"}},
        "tiers": {"cheap": _candidates(folder.tiers["cheap"])},
        "tasks": {task: entry(folder, task, "router") for task in pinned(folder, "router")},
    }
    for task, tier in folder.routed.items():
        router["tasks"].setdefault(task, {})["tier"] = tier
    registry = {}
    for key, model in folder.models.items():
        if model.is_listed:
            registry[key] = {"provider": model.provider, "deployment": model.id, "family": "x"}
            registry[key] |= {"capabilities": model.facts} if model.facts else {}
            registry[key] |= {"default_max_completion_tokens": model.limit} if model.limit else {}
            registry[key] |= {"fallback_model": model.tail, "allow_top_k_param": False} if model.tail else {}
    return {
        "llm.yml": router,
        "llm_model_registry.yaml": {"models": registry, "fallback_model": folder.shared_fallback},
        "llm_model_codes.yaml": {"codes": {f"c_{key}": key for key in registry}},
    }


def _lists(folder: Folder) -> dict:
    overrides = {"channels": {"ch": _override(folder.channel)}, "env": {"prod": _override(folder.env)}}
    overrides["channels"]["ch"]["env"] = {"prod": _override(folder.both)}
    return {
        "llm_tier_candidates.yaml": {
            "tiers": {"standard": _candidates(folder.tiers["standard"])},
            "defaults": folder.tier_defaults,
        },
        "llm_tier_mapping.yaml": {"tasks": folder.mapped, "overrides": overrides},
        "llm_model_slots.yaml": {"default_slot": folder.default_slot, "slots": folder.slots},
    }


def _tasks(folder: Folder) -> dict:
    at = {place: {task: entry(folder, task, place) for task in pinned(folder, place)} for place in PLACES}
    stages = {**{task: {} for task in folder.staged}, **at["stages"]}
    named = [{"name": task, **given} for task, given in at["templates"].items()]
    return {
        "llm_task_overrides.yaml": {"tasks": at["overrides"]},
        "llm_tasks.yaml": {"tts": at["sub_tasks"]},
        "templates.yaml": {"templates": {"short": {"stages": named}}},
        "stages.yaml": {"default_model": folder.default_model, "stages": stages},
    }


def _images(folder: Folder) -> dict:
    models = {
        key: {"provider": "gemini", "model_name": name} for key, name in folder.images["models"].items()
    }
    tasks = {task: _image_task(folder, **given) for task, given in folder.images["tasks"].items()}
    slots = {f"c_{key}": key for key in models} | {
        name: {"label": "全部", **slot} for name, slot in folder.images["slots"].items()
    }
    return {
        "image_models.yaml": {
            "providers": {"gemini": {}},
            "models": models,
            "tiers": {"image": [*models]},
            "tasks": tasks,
        },
        "image_model_slots.yaml": {
            "slots": slots,
            **({"default_slot": folder.images["default"]} if folder.images["default"] else {}),
        },
    }


def _image_task(folder: Folder, keys: list, form: str):
    """An image task in one of the forms; one without models of its own has its tier."""
    if not keys:
        return {"tier": "image", "options": {"aspect_ratio": "16:9"}}
    key = keys[0]
    pins = {
        "pin": {"model": key},
        "code": {"model_key": f"c_{key}", "tier": "image"},
        "id": {"provider": "google", "model": folder.images["models"][key]},
        "text": key,
    }
    return pins.get(form) or {"tier": "image", "models": [f"c_{key}"], "options": {"aspect_ratio": "16:9"}}


def _row(name: str) -> dict:
    return {
        "id": name,
        "context_length": 4096,
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
    }


def _overlays(folder: Folder) -> dict:
    """Only what the overlay changes; an empty key takes away what the file beneath it says."""
    if not folder.overlay:
        return {}
    empty = {"provider": None, "fallback_model": None}
    at: dict = {place: {} for place in PLACES}
    for (task, place), keys in folder.overlay["pins"].items():
        own = place in ("overrides", "router")
        at[place][task] = {"models": keys} if own else empty | pin(folder, task, keys)
    tiers = {tier: _candidates(listed) for tier, listed in folder.overlay["tiers"].items()}
    files = {
        "llm_task_overrides": {"tasks": at["overrides"]},
        "llm": {"tasks": at["router"], "tiers": {t: v for t, v in tiers.items() if t == "cheap"}},
        "llm_tasks": {"tts": at["sub_tasks"]},
        "stages": {"stages": at["stages"]},
        "llm_tier_mapping": {"tasks": folder.overlay["mapped"]},
        "llm_tier_candidates": {"tiers": {t: v for t, v in tiers.items() if t == "standard"}},
    }
    return {f"{name}.local.yaml": data for name, data in files.items()}
