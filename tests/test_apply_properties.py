"""Whatever the config files look like: a diff applies and comes back to the byte, and only its tasks move."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench import ApplyError
from llmbench.bench.config_copy import load_texts
from llmbench.bench.config_store import FileChange, locked, read_configs, write_all
from llmbench.bench.edit import unified_diff
from llmbench.bench.patch import CHANGEABLE, apply_patch, apply_where_found, read_patch, reverse_patch
from llmbench.bench.propose import Routing, propose
from llmbench.bench.route_proof import Expected, prove_moves, prove_others_stay
from llmbench.bench.tiers import Move
from llmbench.routing.resolve import tiers_of_tasks

LINES = st.lists(
    st.sampled_from(["a", "b", "- c", "+ d", "@@ -1 +1 @@", "\\ x", "", "段", "--- a", "e\r"]), max_size=14
)
ENDS = st.sampled_from(["\n", ""])
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + (end if lines else ""), LINES, ENDS)
NAMES = sorted(CHANGEABLE)
MODELS = ("big", "ref", "small", "tiny")
TASKS = ("caption", "extract", "greet", "rewrite")


@given(before=TEXTS, after=TEXTS, name=st.sampled_from(NAMES))
@settings(max_examples=60)
def test_every_diff_applies_to_its_text_and_reversed_gives_it_back(before, after, name):
    patches = read_patch(unified_diff({name: before}, {name: after}))
    assert len(patches) == (before != after)
    for patch in patches:
        assert apply_patch(patch, before) == after
        assert apply_patch(reverse_patch(patch), after) == before


@given(after=TEXTS.filter(bool), name=st.sampled_from(NAMES))
def test_a_file_that_is_made_is_gone_again(after, name):
    (patch,) = read_patch(unified_diff({}, {name: after}))
    assert apply_patch(patch, None) == after
    assert apply_patch(reverse_patch(patch), after) is None


@given(before=TEXTS, after=TEXTS, other=TEXTS)
@settings(max_examples=60)
def test_a_diff_on_another_text_is_refused_or_gives_exactly_what_its_lines_say(before, after, other):
    for patch in read_patch(unified_diff({NAMES[0]: before}, {NAMES[0]: after})):
        try:
            found = apply_where_found(patch, other)
        except ApplyError:
            continue
        removed = sum(len(hunk.old) for hunk in patch.hunks)
        added = sum(len(hunk.new) for hunk in patch.hunks)
        assert found is not None
        assert found.count("\n") - other.count("\n") in range(added - removed - 1, added - removed + 2)


def test_lines_that_stand_at_two_places_are_at_none():
    (patch,) = read_patch(unified_diff({NAMES[0]: "a\nb\n"}, {NAMES[0]: "a\nc\nb\n"}))
    back = reverse_patch(patch)
    assert apply_where_found(back, "x\na\nc\nb\n") == "x\na\nb\n"
    assert apply_where_found(back, "a\nc\nz\n") == "a\nz\n"
    with pytest.raises(ApplyError, match="is not the text"):
        apply_where_found(back, "a\nc\nb\na\nc\nb\n")


@given(st.text(alphabet="+-@ \n\\ab/cdifgt.ylm_0123,", max_size=200) | st.text(max_size=80))
@settings(max_examples=100)
def test_any_text_is_a_diff_or_a_typed_refusal(text):
    try:
        patches = read_patch(text)
    except ApplyError:
        return
    assert all(patch.name in CHANGEABLE for patch in patches)


@given(diff=st.data())
@settings(max_examples=60)
def test_one_changed_character_of_a_diff_never_reaches_another_file(diff):
    before, after = "tasks:\n  a: x\n  b: y\n", "tasks:\n  a: z\n  b: y\n"
    text = unified_diff({NAMES[0]: before}, {NAMES[0]: after})
    at = diff.draw(st.integers(0, len(text) - 1))
    mark = diff.draw(st.sampled_from(["/", ".", "x", "\n", " ", "+", "-", "9", "\x00"]))
    try:
        patches = read_patch(text[:at] + mark + text[at + 1 :])
    except ApplyError:
        return
    assert {patch.name for patch in patches} <= CHANGEABLE


@st.composite
def folders(draw):
    """The files of a config folder with comments and flow or block lists, in either line end."""
    tiers = {}
    for tier in ("heavy_reasoning", "standard", "cheap"):
        tiers[tier] = draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=4, unique=True))
    is_flow = draw(st.booleans())
    shown = {
        tier: f"  {tier}: [{', '.join(models)}]   # 段\n"
        if is_flow
        else f"  {tier}:\n" + "".join(f"    - {model}   # {model} 行\n" for model in models)
        for tier, models in tiers.items()
    }
    mapping = {task: draw(st.sampled_from(sorted(tiers))) for task in TASKS}
    texts = {
        "llm_router.yaml": 'providers: {near: {base_url: "http://127.0.0.1:1/v1"}}\n',
        "llm_model_registry.yaml": "models:\n"
        + "".join(f"  {model}: {{provider: near, model_name: m-{model}}}\n" for model in MODELS),
        "llm_tier_candidates.yaml": "# tiers\ntiers:\n" + "".join(shown.values()),
        "llm_tier_mapping.yaml": "tasks:\n"
        + "".join(f"  {t}: {tier}   # own\n" for t, tier in mapping.items()),
    }
    if draw(st.booleans()):
        models = draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True))
        texts["llm_task_overrides.yaml"] = f"tasks:\n  caption: {{models: [{', '.join(models)}]}}\n"
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return {name: text.replace("\n", end) for name, text in texts.items()}


@given(texts=folders(), data=st.data())
@settings(max_examples=15)
def test_a_proposal_on_any_folder_moves_its_tasks_alone_or_is_refused(texts, data):
    config = load_texts(texts)
    tiers = {tier: [entry.model for entry in entries] for tier, entries in config.all_tiers().items()}
    task_tiers = tiers_of_tasks(config)
    routing = Routing(tiers, task_tiers, texts, providers=dict.fromkeys(MODELS, "near"))
    moving = data.draw(st.lists(st.sampled_from(TASKS), min_size=1, max_size=3, unique=True))
    moves, expected = [], []
    for task in moving:
        rule = config.task_overrides.get(task)
        reference = rule.models[0] if rule and rule.models else tiers[task_tiers[task]][0]
        model = data.draw(st.sampled_from([name for name in MODELS if name != reference]))
        moves.append(Move(task, task_tiers[task], reference, "promote", (model,)))
        expected.append(Expected(task, task_tiers[task], (reference,), (model,), {}))
    proposal = propose(moves, moving, routing)
    after = {**texts, **proposal.edited}
    changed = load_texts(after)
    try:
        prove_moves(config, changed, expected, (), texts, None)
    except ApplyError:  # a task moved to a tier whose first model the same proposal changed
        raised = {row["tier"] for row in proposal.tiers if row["changed"]}
        assert raised & {tier for task, tier in proposal.destinations.items() if tier != task_tiers[task]}
        return
    prove_others_stay(config, changed, moving, None)
    others = [task for task in TASKS if task not in moving]
    if others and proposal.diff:  # and the same change under fewer names is refused
        with pytest.raises(ApplyError, match="would touch more than"):
            prove_others_stay(config, changed, [], None)
    for patch in read_patch(proposal.diff):
        assert apply_patch(patch, texts.get(patch.name)) == after[patch.name]
        assert apply_patch(reverse_patch(patch), after[patch.name]) == texts.get(patch.name)


@given(before=st.lists(TEXTS, min_size=2, max_size=2), after=st.lists(TEXTS, min_size=2, max_size=2))
@settings(max_examples=10)
def test_what_is_written_is_what_is_read_to_the_byte(before, after):
    names = ["llm_router.yaml", "image_models.yaml"]
    changes = [FileChange(*each) for each in zip(names, before, after, strict=True)]
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        for change in changes:
            (folder / change.name).write_bytes(change.before.encode())
        with locked(folder):
            write_all(folder, changes, {"id": "x"})
        assert read_configs(folder) == dict(itertools.zip_longest(names, after))
