"""Older config folders as one generated description, answered by its own few rules.

The rules here are stated anew, over the description and not over the files, so that they can be held against
both the older folder's resolver and the new folder's. `legacy_writing` has the files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

TIERS = ("standard", "cheap")
TASKS = ("draft", "caption", "帯", "reading")
MEDIA_TASKS = ("thumb", "表紙")
#: How an image task names its model: a list of codes, or one key, code or id.
IMAGE_FORMS = ("list", "pin", "code", "id", "text")
#: The files that name models for a task, the one that wins first.
PLACES = ("stages", "templates", "overrides", "sub_tasks", "router", "registry")
PROVIDERS = ("azure", "openrouter", "gemini", "acme")


@dataclass
class Model:
    """`is_listed`: the registry has it. The others are only ever named by provider and id."""

    provider: str
    id: str
    tail: str | None = None
    limit: int | None = None
    facts: dict = field(default_factory=dict)
    is_listed: bool = True

    @property
    def asked(self):
        return self.provider, self.id

    def meets(self, condition):
        least = condition.get("min_context_tokens", 0)
        flags = ("structured_outputs", "reasoning")
        return self.facts.get("context_tokens", 0) >= least and all(
            self.facts.get(flag, False) == condition[flag] for flag in flags if flag in condition
        )


@dataclass
class Folder:
    """`pins` and `options`: (task, place) -> keys, or options by llmbench's names. `tiers`: (key, condition).

    `overlay` has pins, tiers and mapped tiers of `.local.yaml` files; `variable` is the pipeline's own.
    """

    models: dict
    shared_fallback: str | None
    pins: dict
    spelt: dict
    options: dict
    tiers: dict
    tier_defaults: dict
    mapped: dict
    routed: dict
    slots: dict
    default_slot: str | None
    channel: dict
    env: dict
    both: dict
    default_model: str | None
    variable: str | None
    staged: list
    images: dict
    rows: list
    overlay: dict

    @property
    def variables(self):
        return {} if self.variable is None else {"SCRIPT_PIPELINE_DEFAULT_MODEL": self.variable}

    def overlaid(self):
        """The folder as a machine with the overlays has it."""
        changes = {name: {**getattr(self, name), **given} for name, given in self.overlay.items()}
        return replace(self, **changes, overlay={})

    def questions(self):
        slots = (None, *self.slots)
        return [(c, e, s) for c in (None, "ch") for e in (None, "prod") for s in slots]

    def rules(self, channel, env):
        """The overrides that apply, the most specific first."""
        rules = [self.both] if channel and env else []
        rules += [self.channel] if channel else []
        return rules + ([self.env] if env else [])

    def plain_tier(self, task):
        return self.mapped.get(task) or self.routed.get(task)

    def tier(self, task, channel, env):
        named = (rule["tier"][task] for rule in self.rules(channel, env) if task in rule["tier"])
        return next(named, None) or self.plain_tier(task) or "standard"

    def keys(self, task, channel, env, slot):
        """Model keys in order, a last one after all."""
        rules = self.rules(channel, env)
        models = next((rule["models"][task] for rule in rules if task in rule["models"]), None)
        is_strict, named = False, []
        if models is None:
            models = next((self.pins[task, place] for place in PLACES if (task, place) in self.pins), None)
        default = self.variable or self.default_model
        if models is None and task in self.staged and not self.plain_tier(task) and default:
            models = [default]
        if models is None:
            tier = self.tier(task, channel, env)
            chosen = self.slots.get(slot or self.default_slot, {"tiers": {}})
            if tier in chosen["tiers"]:
                models = chosen["tiers"][tier]
                is_strict = slot is not None and not chosen["allow_fallback"]
            else:
                lists = [rule["tiers"][tier] for rule in rules if tier in rule["tiers"]]
                listed = [*lists, self.tiers[tier]][0]
                models = [key for key, condition in listed if self.models[key].meets(condition)]
                named = [key for key, _ in listed]
        tails = [self.models[key].tail or self.shared_fallback for key in named or models]
        found = {}
        for key in (*models, *filter(None, tails)):
            found.setdefault(self.models[key].asked, key)
        return list(found.values())[: 1 if is_strict else None]

    def route(self, task, channel, env, slot):
        """(provider, id) in order."""
        if task in self.images["tasks"]:
            return tuple(("gemini", self.images["models"][key]) for key in self.image_keys(task, slot))
        return tuple(self.models[key].asked for key in self.keys(task, channel, env, slot))

    def image_keys(self, task, slot):
        """An image task's models: the slot's word, its own, the slot's list of its tier, the tier's."""
        slots, own = self.images["slots"], self.images["tasks"][task]["keys"]
        chosen = slots.get(slot) or slots.get(self.images["default"]) or {"tasks": {}, "tiers": {}}
        if task in chosen["tasks"]:
            return [chosen["tasks"][task]]
        return own or chosen["tiers"].get("image") or [*self.images["models"]]

    def media_questions(self):
        return self.questions() + [(None, None, slot) for slot in self.images["slots"]]

    def sent(self, task, channel, env, slot):
        """The options of each candidate, in order."""
        layers = [self.options.get((task, place), {}) for place in reversed(PLACES)]
        layers += [rule["options"].get(task, {}) for rule in reversed(self.rules(channel, env))]
        default = self.tier_defaults.get(self.tier(task, channel, env), {})
        found = []
        for key in self.keys(task, channel, env, slot):
            limit = self.models[key].limit
            made = dict(default) | ({} if limit is None else {"max_tokens": limit})
            for layer in layers:
                made |= layer
            found.append(made)
        return found

    def known_tasks(self):
        named = {task for task, _ in (*self.pins, *self.options)} | {*self.mapped, *self.routed}
        for rule in (self.channel, self.env, self.both):
            named |= {*rule["models"], *rule["tier"], *rule["options"]}
        staged = self.staged if self.variable or self.default_model else ()
        return sorted(named | {*staged, *self.images["tasks"]})


def _models(draw):
    flag = st.booleans()
    facts = st.fixed_dictionaries(
        {},
        optional={
            "context_tokens": st.sampled_from((1000, 9000)),
            "structured_outputs": flag,
            "reasoning": flag,
        },
    )
    keys = [f"m{number}" for number in range(draw(st.integers(3, 5)))]
    tail = st.none() | st.sampled_from(keys)
    models = {
        key: Model(
            draw(st.sampled_from(PROVIDERS)),
            f"model-{number}",
            draw(tail),
            draw(st.none() | st.integers(100, 105)),
            draw(facts),
        )
        for number, key in enumerate(keys)
    }
    loose = {f"loose{n}": Model("openrouter", f"lab/loose-{n}", is_listed=False) for n in range(2)}
    return keys, models | loose, tail


def _options(places):
    number = st.integers(1, 9)
    known = {
        "max_tokens": st.integers(10, 99),
        "temperature": number.map(lambda n: n / 10),
        "reasoning": st.sampled_from(("low", "high")),
        "system_prompt": st.sampled_from(("短く。", "Be brief.")),
    }
    own = {"timeout": number, "extra_body": st.just({"route": "x"})}
    return st.fixed_dictionaries({}, optional=known | (own if places else {}))


@st.composite
def folders(draw):
    """Folders of three to five models, four tasks of text and up to two of images."""
    keys, models, tail = _models(draw)
    some = st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True)
    any_model = st.lists(st.sampled_from([*models]), min_size=1, max_size=2, unique=True)
    condition = st.fixed_dictionaries(
        {},
        optional={
            "min_context_tokens": st.just(5000),
            "structured_outputs": st.booleans(),
            "reasoning": st.booleans(),
        },
    )
    entries = st.lists(
        st.tuples(st.sampled_from(keys), st.just({}) | condition),
        min_size=1,
        max_size=3,
        unique_by=lambda entry: entry[0],
    )
    #: A list of which nothing can be used is an error of the loader: the last one has no condition.
    listed = entries.map(lambda found: [*found[:-1], (found[-1][0], {})])
    task, tier = st.sampled_from(TASKS), st.sampled_from(TIERS)
    rule = st.fixed_dictionaries(
        {
            "models": st.dictionaries(task, some, max_size=1),
            "tier": st.dictionaries(task, tier, max_size=2),
            "tiers": st.dictionaries(tier, listed, max_size=1),
            "options": st.dictionaries(task, st.just({"temperature": 0.05}), max_size=1),
        }
    )
    slot = st.fixed_dictionaries(
        {"tiers": st.dictionaries(tier, some, max_size=2), "allow_fallback": st.booleans()}
    )
    files, lists = ("stages", "templates", "sub_tasks", "registry"), ("overrides", "router")

    def pinned(size, files=files):
        loose = st.dictionaries(st.tuples(task, st.sampled_from(files)), any_model, max_size=size)
        own = st.dictionaries(st.tuples(task, st.sampled_from(lists)), some, max_size=size)
        return draw(loose) | draw(own)

    pins = pinned(3)
    said = draw(st.dictionaries(st.tuples(task, st.sampled_from(lists)), _options(places=True), max_size=3))
    said |= {place: draw(_options(places=False)) for place in pins if place[1] in files}
    images = {"n0": "image-0", "n1": "image-1"}
    image = st.sampled_from([*images])
    image_lists = st.lists(image, min_size=1, max_size=1)
    image_task = st.fixed_dictionaries(
        {"keys": st.just([]) | image_lists, "form": st.sampled_from(IMAGE_FORMS)}
    )
    image_slot = st.fixed_dictionaries(
        {
            "tasks": st.dictionaries(st.sampled_from(MEDIA_TASKS), image, max_size=1),
            "tiers": st.dictionaries(st.just("image"), image_lists),
        }
    )
    return Folder(
        models=models,
        shared_fallback=draw(tail),
        pins=pins,
        spelt=draw(st.dictionaries(task, st.sampled_from(("key", "code", "id")), max_size=4)),
        options=said,
        tiers={name: draw(listed) for name in TIERS},
        tier_defaults=draw(st.dictionaries(tier, st.just({"max_tokens": 7}), max_size=1)),
        mapped=draw(st.dictionaries(task, tier, max_size=3)),
        routed=draw(st.dictionaries(task, tier, max_size=2)),
        slots={"1": draw(slot), "2": draw(slot)},
        default_slot=draw(st.none() | st.sampled_from(("1", "2"))),
        channel=draw(rule),
        env=draw(rule),
        both=draw(rule),
        default_model=draw(tail),
        variable=draw(tail),
        staged=draw(st.lists(task, unique=True, max_size=2)),
        images={
            "models": images,
            "tasks": draw(st.dictionaries(st.sampled_from(MEDIA_TASKS), image_task, max_size=2)),
            "slots": draw(st.dictionaries(st.sampled_from(("f-1", "s-1")), image_slot)),
            "default": draw(st.none() | st.sampled_from(("f-1", "s-1"))),
        },
        rows=draw(st.lists(st.sampled_from([each.id for each in models.values()]), unique=True, max_size=2)),
        overlay=draw(
            st.just({})
            | st.fixed_dictionaries(
                {
                    "pins": st.just(pinned(1, ("stages", "sub_tasks"))),
                    "mapped": st.dictionaries(task, tier, max_size=1),
                    "tiers": st.dictionaries(tier, listed, max_size=1),
                }
            )
        ),
    )
