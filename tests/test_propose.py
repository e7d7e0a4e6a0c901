"""Tiers and the config diff: only the lines that change are touched, and git applies it."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.edit import put_before, set_value, unified_diff
from llmbench.bench.propose import Routing, propose
from llmbench.bench.tiers import Move
from llmbench.errors import ConfigError

TIERS = {"heavy_reasoning": ["big"], "standard": ["ref", "big"], "cheap": ["small", "tiny"], "image": ["pic"]}
TASK_TIERS = {"extract": "standard", "caption": "standard", "label": "cheap"}
MAPPING = """\
# どのタスクをどの段に置くか
tasks:
  extract: standard   # 事実の抽出 (facts)
  caption: "standard"
  'label': cheap

  # keep me

overrides:
  channels: {CH01: {tasks: {caption: {tier: cheap}}}}
"""
CANDIDATES = """\
tiers:
  heavy_reasoning: [big]   # one only
  standard:
    # 標準
    - ref
    - "big"      # 大きい
    - {model: long, min_context: 32000}
    - model: tiny
      min_context: 1000
  cheap: [ small,
           tiny, # tiny
           ref ]
  image: [pic]
defaults:
  cheap: {max_tokens: 256}
"""
OVERRIDES = """\
tasks:
  label:
    options: {temperature: 0}
    models: [small, tiny]
"""
FILES = {
    "llm_tier_mapping.yaml": MAPPING,
    "llm_tier_candidates.yaml": CANDIDATES,
    "llm_task_overrides.yaml": OVERRIDES,
}


def proposed(*moves, configs=FILES, measured=None, tiers=TIERS):
    found = [Move(task, tier, "ref", outcome, (model,)) for task, tier, outcome, model in moves]
    return propose(found, measured or [m[0] for m in moves], Routing(tiers, TASK_TIERS, configs))


def changed_lines(diff):
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def applied(tmp_path, files, diff):
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    (tmp_path / "recommendation.diff").write_bytes(diff.encode())
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "recommendation.diff"], cwd=tmp_path, check=True)
    return {path.name: path.read_bytes().decode() for path in folder.iterdir()}


def test_a_move_to_a_tier_changes_one_line_and_keeps_its_comment(tmp_path):
    found = proposed(("extract", "standard", "promote", "small"), measured=["extract", "caption"])
    assert found.destinations == {"extract": "cheap"}
    assert changed_lines(found.diff) == [
        "-  extract: standard   # 事実の抽出 (facts)",
        "+  extract: cheap      # 事実の抽出 (facts)",
    ]
    assert applied(tmp_path, FILES, found.diff) == found.edited


def test_quotes_stay_and_a_task_that_is_missing_is_added_after_the_last(tmp_path):
    both = proposed(("caption", "standard", "promote", "small"), ("new", "standard", "promote", "small"))
    assert changed_lines(both.diff) == [
        '-  caption: "standard"', '+  caption: "cheap"', "+  new: cheap"
    ]  # fmt: skip
    assert applied(tmp_path, FILES, both.diff) == both.edited
    assert "overrides by channel or environment name caption" in " ".join(both.notes)
    assert "different defaults" in " ".join(both.notes)


def test_a_model_that_heads_no_tier_is_put_before_the_old_ones_for_its_task_alone(tmp_path):
    found = proposed(("extract", "standard", "promote", "tiny"), measured=["extract", "caption"])
    assert found.destinations == {"extract": "standard"}
    assert changed_lines(found.diff) == ["+  extract:", "+    models: [tiny, ref, big]"]
    assert applied(tmp_path, FILES, found.diff) == found.edited
    standard = next(row for row in found.tiers if row["tier"] == "standard")
    assert (standard["changed"], standard["blocking_tasks"]) == (False, ["caption"])
    assert standard["sentence"] == "standard keeps ref: tiny is proved for extract, but not for caption."


def test_a_tier_gets_a_new_first_when_every_measured_task_moved_to_it(tmp_path):
    found = proposed(("extract", "standard", "promote", "tiny"), ("caption", "standard", "promote", "tiny"))
    standard = next(row for row in found.tiers if row["tier"] == "standard")
    assert (standard["changed"], standard["proposed_first"]) == (True, "tiny")
    after = applied(tmp_path, FILES, found.diff)
    assert after == found.edited
    assert changed_lines(found.diff) == [
        "+    - model: tiny", "+      min_context: 1000", "-    - model: tiny", "-      min_context: 1000"
    ]  # fmt: skip
    names = [
        e["model"] if isinstance(e, dict) else e
        for e in yaml.safe_load(after["llm_tier_candidates.yaml"])["tiers"]["standard"]
    ]
    assert names == ["tiny", "ref", "big", "long"]


def test_a_task_moves_to_no_tier_that_gets_another_first_model_in_the_same_proposal():
    tiers = {"heavy_reasoning": ["big"], "standard": ["ref"], "cheap": ["small", "tiny"]}
    moves = (
        Move("extract", "standard", "ref", "promote", ("small",)),
        Move("label", "cheap", "small", "promote", ("tiny",)),
    )
    routing = Routing(
        tiers,
        {"extract": "standard", "label": "cheap"},
        {"llm_tier_candidates.yaml": yaml.safe_dump({"tiers": tiers})},
    )
    found = propose(moves, ["extract", "label"], routing)
    assert next(row for row in found.tiers if row["tier"] == "cheap")["proposed_first"] == "tiny"
    assert found.destinations == {"extract": "standard", "label": "cheap"}
    standard = next(row for row in found.tiers if row["tier"] == "standard")
    assert standard["proposed_first"] == "small", "it is proved for every task of its own tier"
    assert yaml.safe_load(found.edited["llm_tier_candidates.yaml"])["tiers"] == {
        "heavy_reasoning": ["big"], "standard": ["small", "ref"], "cheap": ["tiny", "small"],
    }  # fmt: skip


def test_a_task_that_was_not_measured_keeps_the_tier_from_changing_and_is_named():
    found = proposed(("extract", "standard", "promote", "tiny"))
    standard = next(row for row in found.tiers if row["tier"] == "standard")
    assert (standard["changed"], standard["blocking_tasks"]) == (False, ["caption"])
    assert standard["sentence"].endswith("proved for extract, but not for caption (not measured).")
    assert changed_lines(found.diff) == ["+  extract:", "+    models: [tiny, ref, big]"]


def test_a_promotion_never_climbs_the_ladder_and_more_quality_never_descends():
    files = FILES | {"llm_tier_candidates.yaml": CANDIDATES}
    cheaper = proposed(
        ("extract", "standard", "promote", "big"), ("label", "cheap", "promote", "big"), configs=files
    )
    assert cheaper.destinations == {"extract": "standard", "label": "cheap"}
    better = proposed(("extract", "standard", "demote", "big"), ("caption", "standard", "demote", "small"))
    assert better.destinations == {"extract": "heavy_reasoning", "caption": "standard"}


def test_a_promoted_chain_becomes_the_head_of_the_tasks_own_list(tmp_path):
    chain = Move("extract", "standard", "ref", "promote", ("tiny", "small"))
    found = propose([chain], ["extract", "caption"], Routing(TIERS, TASK_TIERS, FILES))
    assert changed_lines(found.diff) == ["+  extract:", "+    models: [tiny, small, ref, big]"]
    own = FILES | {"llm_task_overrides.yaml": "tasks: {extract: {models: [ref, big]}}\n"}
    inside = propose([chain], ["extract"], Routing(TIERS, TASK_TIERS, own))
    assert changed_lines(inside.diff)[1] == "+tasks: {extract: {models: [tiny, small, ref, big]}}"
    assert not any(row["changed"] for row in found.tiers)


def test_a_channel_that_may_not_use_the_new_provider_keeps_its_models(tmp_path):
    move = Move("extract", "standard", "ref", "promote", ("small",), {"CH02": ("small", "big")})
    found = propose([move], ["extract"], Routing(TIERS, TASK_TIERS, FILES))
    after = applied(tmp_path, FILES, found.diff)
    channels = yaml.safe_load(after["llm_tier_mapping.yaml"])["overrides"]["channels"]
    assert channels["CH02"] == {"tasks": {"extract": {"models": ["ref"]}}}
    own = FILES | {"llm_task_overrides.yaml": "tasks: {extract: {models: [ref, tiny]}}\n"}
    kept = yaml.safe_load(
        propose([move], ["extract"], Routing(TIERS, TASK_TIERS, own)).edited["llm_tier_mapping.yaml"]
    )
    assert kept["overrides"]["channels"]["CH02"]["tasks"]["extract"]["models"] == ["ref", "tiny"]
    assert any("channel CH02 may not use small" in note for note in found.notes)


def test_tiers_off_the_ladder_are_left_alone():
    move = Move("poster", "image", "pic", "promote", ("small",))
    found = propose([move], ["poster"], Routing(TIERS, {"poster": "image"}, FILES))
    assert found.destinations == {"poster": "image"}
    assert not next(row for row in found.tiers if row["tier"] == "image")["changed"]
    assert changed_lines(found.diff) == ["+  poster:", "+    models: [small, pic]"]


def test_a_task_with_its_own_list_is_changed_there():
    found = proposed(("label", "cheap", "promote", "tiny"))
    assert found.destinations == {"label": "cheap"}
    assert changed_lines(found.diff) == ["-    models: [small, tiny]", "+    models: [tiny, small]"]


def test_the_one_file_form_is_changed_in_place(tmp_path):
    router = "tiers: {standard: [ref], cheap: [small]}\ntasks:\n  extract: {tier: standard, timeout: 30}\n"
    found = proposed(("extract", "standard", "promote", "small"), configs={"llm_router.yaml": router})
    assert "+  extract: {tier: cheap, timeout: 30}" in changed_lines(found.diff)
    assert applied(tmp_path, {"llm_router.yaml": router}, found.diff) == found.edited


def test_files_that_do_not_exist_are_created_by_the_diff(tmp_path):
    found = proposed(("extract", "standard", "promote", "tiny"), measured=["extract", "caption"], configs={})
    after = applied(tmp_path, {}, found.diff)
    assert after == {"llm_task_overrides.yaml": "tasks:\n  extract:\n    models: [tiny, ref, big]\n"}


def test_an_edit_that_is_not_safe_becomes_a_note_and_touches_nothing():
    text = "tasks:\n  extract: &t standard\n  caption: *t\n"
    found = proposed(("caption", "standard", "promote", "small"), configs={"llm_tier_mapping.yaml": text})
    assert found.diff == ""
    assert found.notes[0].startswith(
        "Not in the diff: llm_tier_mapping.yaml: tasks.caption cannot be edited safely"
    )


def test_without_config_texts_there_is_no_diff_and_nothing_moves_without_a_move():
    assert proposed(("extract", "standard", "promote", "small"), configs=None).diff == ""
    assert propose([], ["extract"], Routing(TIERS, TASK_TIERS, FILES)).diff == ""


# --- the editor -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value", "edited"),
    [
        ("", ("tasks", "a"), "cheap", "tasks:\n  a: cheap\n"),
        ("# only\n", ("tasks", "a"), "cheap", "# only\ntasks:\n  a: cheap\n"),
        ("tasks:\n", ("tasks", "a"), "cheap", "tasks:\n  a: cheap\n"),
        ("tasks: {}\n", ("tasks", "a"), "cheap", "tasks: {a: cheap}\n"),
        ("tasks: { b: x, }\n", ("tasks", "a"), "cheap", "tasks: { b: x, a: cheap }\n"),
        ("tasks:\n  b: x  # c", ("tasks", "a"), "cheap", "tasks:\n  b: x  # c\n  a: cheap"),
        ("tasks:\r\n  b: x\r\n", ("tasks", "a"), "y", "tasks:\r\n  b: x\r\n  a: y\r\n"),
        ("tasks:\n    b: x\nz: 1\n", ("tasks", "要約"), "cheap", "tasks:\n    b: x\n    要約: cheap\nz: 1\n"),
        ("tasks:\n  a: 'x'  # c\n", ("tasks", "a"), "y", "tasks:\n  a: 'y'  # c\n"),
        ("a: x  # c\n", ("a",), "longer", "a: longer # c\n"),
        ("a: x\n", ("a",), "yes", 'a: "yes"\n'),
        ("a:   # later\nb: 1\n", ("a",), "x", "a: x   # later\nb: 1\n"),
    ],
)
def test_a_value_is_set_where_it_stands(text, path, value, edited):
    assert set_value(text, path, value) == edited


@pytest.mark.parametrize(
    ("text", "item", "edited"),
    [
        ("l: [a, b]  # c\n", "b", "l: [b, a]  # c\n"),
        ("l: [a, b]\n", "new", "l: [new, a, b]\n"),
        ("l: []\n", "new", "l: [new]\n"),
        ("l:\n  - a  # 一\n  - b  # 二\n", "b", "l:\n  - b  # 二\n  - a  # 一\n"),
        ("l:\n- a\n- b", "b", "l:\n- b\n- a"),
        ("l:\n- a\n", "new", "l:\n- new\n- a\n"),
        ("l: [\n  a, # one\n  b, # two\n]\n", "b", "l: [\n  b, a, # one\n   # two\n]\n"),
        ("l: [a]\n", "a", "l: [a]\n"),
    ],
)
def test_an_item_is_put_before_and_comments_stay(text, item, edited):
    assert put_before(text, ("l",), item) == edited


@pytest.mark.parametrize(
    "text", ["l: {a: 1}\n", "l: &x [a]\nm: *x\n", "k: &x [a]\nl: *x\n", "- a\n", "l: [a\n", "other: 1\n"]
)
def test_a_place_that_cannot_be_edited_safely_is_refused(text):
    with pytest.raises(ConfigError):
        put_before(text, ("l",), "new")


names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=8)


@given(
    st.dictionaries(names, st.sampled_from(["cheap", "standard"]), max_size=5), names, names, st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_names_the_text_reads_back_with_one_change(tasks, task, tier, flow):
    text = yaml.safe_dump({"tasks": tasks}, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    edited = set_value(text, ("tasks", task), tier)
    assert yaml.safe_load(edited) == {"tasks": tasks | {task: tier}}


@given(
    st.lists(st.sampled_from(["a: 1\n", "\n", "# c\n", "b: 2\r\n", "漢字: x\n"]), max_size=8), st.booleans()
)
@settings(max_examples=25, deadline=None)
def test_git_applies_the_diff_of_any_two_texts(tmp_path_factory, parts, cut):
    before = "".join(parts)
    after = before[:-1] if cut and before else before + "end: 1"
    diff = unified_diff({"x.yaml": before}, {"x.yaml": after})
    assert applied(tmp_path_factory.mktemp("g"), {"x.yaml": before}, diff) == {"x.yaml": after}


# ---- candidates that could not be called where the run was made

FAR = ("far", "farther")
FAR_TIERS = {"standard": ["far", "ref", "big"], "cheap": ["farther", "far", "small"]}
FAR_FILES = {
    "llm_tier_mapping.yaml": "tasks:\n  extract: standard\n",
    "llm_tier_candidates.yaml": """\
tiers:
  standard: [far, ref, big]
  cheap:
    - farther
    - far
    - small
""",
}


def proposed_near(*moves, files=FAR_FILES):
    found = [Move(task, tier, reference, "promote", (model,)) for task, tier, reference, model in moves]
    tasks = {"extract": "standard", "label": "cheap"}
    return propose(found, [move.task for move in found], Routing(FAR_TIERS, tasks, files, FAR))


def test_the_first_of_a_tier_is_the_first_that_could_be_called():
    found = proposed_near(("extract", "standard", "ref", "small"))
    assert found.destinations == {"extract": "cheap"}
    assert changed_lines(found.diff) == ["-  extract: standard", "+  extract: cheap"]
    assert [row["first"] for row in found.tiers] == ["ref", "small"]
    (note,) = found.notes
    assert note.startswith("cheap: farther, far could not be called here and were not measured; they stay")


def test_a_model_is_raised_before_the_one_it_replaces_and_not_before_what_was_not_measured(tmp_path):
    found = proposed_near(("extract", "standard", "ref", "big"), ("label", "cheap", "small", "tiny"))
    standard, cheap = found.tiers
    assert standard["sentence"] == "Put big before ref in standard: proved for every task of it (extract)."
    assert (cheap["first"], cheap["proposed_first"]) == ("small", "tiny")
    assert changed_lines(found.diff) == [
        "-  standard: [far, ref, big]", "+  standard: [far, big, ref]", "+    - tiny",
    ]  # fmt: skip
    edited = yaml.safe_load(applied(tmp_path, FAR_FILES, found.diff)["llm_tier_candidates.yaml"])
    assert edited["tiers"]["cheap"] == ["farther", "far", "tiny", "small"]
    assert len(found.notes) == 2


def test_a_task_that_gets_its_own_list_keeps_what_could_not_be_called_before_it():
    both = ("extract", "standard", "ref", "tiny"), ("caption", "standard", "ref", "other")
    found = proposed_near(*both)
    assert "+    models: [far, tiny, ref, big]" in changed_lines(found.diff)


def test_a_task_with_its_own_list_is_changed_before_its_reference():
    files = FAR_FILES | {"llm_task_overrides.yaml": "tasks: {extract: {models: [far, ref]}}\n"}
    found = proposed_near(("extract", "standard", "ref", "big"), files=files)
    assert changed_lines(found.diff)[1] == "+tasks: {extract: {models: [far, big, ref]}}"


@pytest.mark.parametrize(
    ("text", "item", "before", "edited"),
    [
        ("l: [a, b, c]\n", "c", "b", "l: [a, c, b]\n"),
        ("l: [a, b]\n", "n", "b", "l: [a, n, b]\n"),
        ("l: [a, b]\n", "a", "b", "l: [a, b]\n"),
        ("l: [a, b]\n", "n", "gone", "l: [n, a, b]\n"),
        ("l:\n  - a\n  # of b\n  - b\n  - model: c\n    x: 1\n", "c", "b",
         "l:\n  - a\n  # of b\n  - model: c\n    x: 1\n  - b\n"),
    ],
)  # fmt: skip
def test_an_item_is_put_before_another_wherever_that_stands(text, item, before, edited):
    assert put_before(text, ("l",), item, before) == edited


def test_a_candidate_with_parameters_of_its_own_moves_with_them():
    files = {"llm_tier_candidates.yaml": "tiers:\n  standard: [ref, small]\n"}
    routing = Routing({"standard": ["ref", "small"]}, {"extract": "standard"}, files)
    moves = [
        Move("extract", "standard", "ref", "promote", ("small",), {}, {"temperature": 0.7, "stop": ["。"]})
    ]
    found = propose(moves, ["extract"], routing)
    edited = yaml.safe_load(found.edited["llm_task_overrides.yaml"])["tasks"]["extract"]
    assert edited == {"models": ["small", "ref"], "options": {"temperature": 0.7, "stop": ["。"]}}
    assert [row["changed"] for row in found.tiers] == [False]
    assert "a call that passes it wins" in found.notes[0]


def test_other_parameters_of_the_same_model_change_its_options_alone():
    files = {"llm_router.yaml": "tiers:\n  standard: [ref]\ntasks:\n  extract: {tier: standard}\n"}
    routing = Routing({"standard": ["ref"]}, {"extract": "standard"}, files)
    moves = [Move("extract", "standard", "ref", "promote", ("ref",), {}, {"temperature": 0})]
    found = propose(moves, ["extract"], routing)
    edited = yaml.safe_load(found.edited["llm_router.yaml"])
    assert edited["tasks"] == {"extract": {"tier": "standard", "defaults": {"temperature": 0}}}
    assert edited["tiers"] == {"standard": ["ref"]}
