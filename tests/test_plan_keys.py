"""What a plan file may say of a run: params to try, tiers, budget, time, limits, judges; each is in force."""

from __future__ import annotations

import time

import pytest
import yaml

from llmbench.bench.cells import make_cells
from llmbench.bench.plan_file import read_plan_file
from llmbench.errors import SweepError
from llmbench.providers.scripted import ScriptedTransport
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    rows_of,
    stub_provider,
    sweep,
    write_project,
)

GRID = {"temperature": [0.0, 0.7], "top_p": [0.5]}


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


def planned(project):
    """The frozen plan, and its cells."""
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
        return plan, make_cells(plan, client)


def change_config(project, name, change):
    path = project.configs / name
    value = yaml.safe_load(path.read_text())
    change(value)
    path.write_text(yaml.safe_dump(value, sort_keys=False))


# ---- params


def test_each_candidate_is_tried_with_every_combination_and_the_reference_as_it_is(tmp_path):
    plan, cells = planned(
        write_project(tmp_path, 9, plan={"params": {"temperature": [0, 0.7], "seed": [1, 2]}})
    )
    (task,) = plan.tasks
    grid = [f"temperature={heat},seed={seed}" for heat in (0, 0.7) for seed in (1, 2)]
    assert task.reference == task.candidates[0] == "alpha"
    tried = [f"{key}[{params}]" for key in ("alpha", "beta") for params in grid]
    tried.remove("alpha[temperature=0,seed=1]")  # what the card asks anyway: alpha as it is
    tried[tried.index("beta[temperature=0,seed=1]")] = "beta"
    assert list(task.candidates[1:]) == tried
    assert len({cell.fingerprint for cell in cells}) == len(cells) == 8 * 12
    assert plan.models["beta[temperature=0.7,seed=2]"]["base"] == "beta"


def test_a_variant_is_sent_with_its_parameters_and_has_rows_of_its_own(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b"], plan={"params": GRID})
    before = stub.count
    run = sweep(project)
    sent = [(each["model"], each["temperature"], each.get("top_p")) for each in stub.requests()[before:]]
    wanted = [("alpha-1", 0.0, None)]  # the reference: what the dataset's options say
    wanted += [(f"{key}-1", heat, 0.5) for key in ("alpha", "beta") for heat in (0.0, 0.7)]
    assert sorted(sent, key=str) == sorted(2 * wanted, key=str)
    rows = rows_of(run)
    names = {"alpha", *(f"{key}[temperature={t},top_p=0.5]" for key in ("alpha", "beta") for t in (0.0, 0.7))}
    assert {row["model"] for row in rows} == names
    assert {row["model_id"] for row in rows if row["model"].startswith("beta[")} == {"beta-1"}
    assert all(row["score"] == 1.0 for row in rows)
    assert sweep(project).calls == 0


def test_a_further_value_pays_for_its_own_cells_alone(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b"], plan={"params": {"temperature": [0.2]}})
    sweep(project)
    plan = project.configs / "sweeps" / "small.yaml"
    plan.write_text(
        yaml.safe_dump(yaml.safe_load(plan.read_text()) | {"params": {"temperature": [0.2, 0.4]}})
    )
    run = sweep(project)
    assert (run.cached, run.calls) == (6, 4)


def test_a_tasks_own_grid_stands_in_the_place_of_the_plans(tmp_path):
    own = {"labels": {"params": {"seed": [7]}}, "notes": None}
    project = write_project(
        tmp_path, 9, tasks=("labels", "notes"), plan={"params": {"temperature": [0.7]}, "tasks": own}
    )
    plan, _ = planned(project)
    by_task = {task.task: task.candidates[1:] for task in plan.tasks}
    assert by_task["labels"] == ("alpha[seed=7]", "beta[seed=7]")
    assert by_task["notes"] == ("alpha[temperature=0.7]", "beta[temperature=0.7]")


def test_params_are_part_of_what_a_run_is_and_bounds_are_not(tmp_path):
    def hash_of(name, **plan):
        return planned(write_project(tmp_path / name, 9, plan=plan))[0].hash

    plain = hash_of("plain")
    assert hash_of("warm", params={"temperature": [0.7]}) != plain
    bounds = {"deadline_s": 5, "limits": {"stub": {"concurrency": 2}}, "budget": {"usd": 3.0, "calls": 900}}
    assert hash_of("bounded", **bounds) == plain


# ---- all of a tier


def test_a_tier_as_a_candidate_is_each_of_its_models(tmp_path):
    project = write_project(
        tmp_path, 9, models=("alpha", "beta", "gamma"), plan={"candidates": [{"tier": "fast"}]}
    )
    change_config(project, "llm_tier_candidates.yaml", lambda v: v["tiers"].update(fast=["gamma", "beta"]))
    plan, _ = planned(project)
    assert plan.tasks[0].arms == (("gamma",), ("beta",))
    assert plan.tasks[0].candidates == ("alpha", "gamma", "beta")


def test_a_tier_and_challengers_stand_side_by_side_and_none_twice(tmp_path):
    plan = {"candidates": [{"tier": "standard"}, "gamma", "beta", ["gamma", "beta"]]}
    project = write_project(tmp_path, 9, models=("alpha", "beta", "gamma"), plan=plan)
    change_config(
        project, "llm_tier_candidates.yaml", lambda v: v["tiers"].update(standard=["alpha", "beta"])
    )
    assert planned(project)[0].tasks[0].arms == (("beta",), ("gamma",), ("gamma", "beta"))


def test_an_unknown_tier_is_named_with_those_that_there_are(tmp_path):
    project = write_project(tmp_path, 9, plan={"candidates": [{"tier": "standart"}]})
    with pytest.raises(SweepError, match=r"names tier 'standart'; the config has: .*standard"):
        planned(project)


# ---- time


@pytest.mark.alone  # a busy machine needs the whole time before the first call
def test_after_its_time_nothing_is_sent_and_the_run_says_so(tmp_path):
    with stub_provider(tmp_path, (100, 120)) as stub:
        samples = [f"text {n}" for n in range(100)]
        project = write_project(tmp_path, stub.port, samples=samples, concurrency=4, plan={"deadline_s": 2.5})
        began = time.monotonic()
        run = sweep(project)
        assert time.monotonic() - began < 10
        assert 4 <= stub.count <= 4 * 26
        rows = rows_of(run)
    assert run.pending == 200 - stub.count
    assert {row["error"] for row in rows if row["status"] == "harness"} == {"the sweep's 2.5 s were over"}
    assert {row["status"] for row in rows} == {"ok", "harness"}, "a call under way may end"
    assert f"{run.pending} calls were not made: the sweep's 2.5 s were over" in run.notices


@pytest.mark.alone
@pytest.mark.parametrize(
    ("limits", "sent"),
    [({"requests_per_minute": 3}, 3), ({"tokens_per_minute": 250}, None)],
    ids=["requests", "tokens"],
)
def test_the_end_of_the_time_ends_the_wait_for_a_place_too(tmp_path, stub, limits, sent):
    plan = {"deadline_s": 1.5, "limits": {"stub": limits}}
    project = write_project(tmp_path, stub.port, samples=[f"text {n}" for n in range(20)], plan=plan)
    before, began = stub.count, time.monotonic()
    run = sweep(project)
    assert time.monotonic() - began < 6
    assert 0 < stub.count - before < 10
    assert sent in (None, stub.count - before)
    assert run.pending == 40 - (stub.count - before)


def test_a_pause_that_a_provider_asks_for_does_not_outlast_the_time(tmp_path, stub):
    samples = ["x #dice 1 retry=1;", *(f"text {n}" for n in range(5))]
    project = write_project(tmp_path, stub.port, samples=samples, concurrency=1, plan={"deadline_s": 1.0})
    change_config(project, "llm_fallback_policy.yaml", lambda v: v.update(per_status_backoff={429: 30}))
    began = time.monotonic()
    run = sweep(project)
    assert time.monotonic() - began < 4
    assert run.pending >= 2


# ---- limits


def test_limits_of_a_plan_hold_below_those_of_the_config_and_never_above(tmp_path):
    for allowed, asked, most in ((8, 2, 2), (2, 8, 2)):
        with stub_provider(tmp_path, (20, 30)) as stub:
            before = stub.count
            project = write_project(
                tmp_path / f"{allowed}",
                stub.port,
                concurrency=allowed,
                plan={"limits": {"stub": {"concurrency": asked}}},
            )
            sweep(project)
            assert max(line["open"] for line in stub.requests()[before:]) == most


def test_limits_of_a_provider_that_there_is_not_are_refused_with_the_known_ones(tmp_path):
    project = write_project(tmp_path, 9, plan={"limits": {"stab": {"concurrency": 2}}})
    with pytest.raises(SweepError, match=r"names provider 'stab'; llm_router\.yaml has: .*stub"):
        planned(project)


# ---- the budget's calls


def test_a_budget_of_calls_is_kept_and_what_was_not_called_says_so(tmp_path, stub):
    bounds = {"stop": "decided", "margin": 0.1, "pilot": 2, "budget": {"usd": 1.0, "calls": 5}}
    samples = [f"text {n}" for n in range(120)]
    project = write_project(tmp_path, stub.port, samples=samples, plan=bounds)
    dear = {"input": 9.0, "output": 9.0}  # there must be something to save
    change_config(project, "llm_model_registry.yaml", lambda v: v["models"]["alpha"].update(price=dear))
    before = stub.count
    run = sweep(project)
    assert stub.count - before == 5
    reason = "the budget of 5 calls is used up"
    assert {row["error"] for row in rows_of(run) if row["status"] == "harness"} == {reason}
    assert any(notice.endswith(f"calls were not made: {reason}") for notice in run.notices)


# ---- mistakes


MISTAKES = [
    ({"budgt": {"usd": 1}}, r":\d+: budgt: unknown key; did you mean 'budget'\?"),
    ({"budget": {"us": 1}}, r":\d+: budget.us: unknown key; did you mean 'usd'\?"),
    ({"budget": {"usd": -1}}, r":\d+: budget.usd: input should be greater than or equal to 0"),
    ({"budget": {"usd": float("inf")}}, r":\d+: budget.usd: input should be a finite number"),
    ({"budget": {"calls": 1.5}}, r":\d+: budget.calls: input should be a valid integer"),
    ({"budget": 5}, r":\d+: budget: must be a mapping; its keys: usd, calls"),
    ({"deadline": 5}, r":\d+: deadline: unknown key; did you mean 'deadline_s'\?"),
    ({"deadline_s": 0}, r":\d+: deadline_s: input should be greater than 0"),
    (
        {"limits": {"stub": {"requests_per_min": 5}}},
        r":\d+: limits.stub.requests_per_min: unknown key; did you mean 'requests_per_minute'\?",
    ),
    ({"limits": {"stub": {"concurrency": 0}}}, r":\d+: limits.stub.concurrency: input should be greater"),
    ({"limits": {"concurrency": 3}}, r":\d+: limits.concurrency: must be a mapping; its keys: requests_per"),
    ({"params": {"temprature": [1]}}, r":\d+: params.temprature: unknown key; did you mean 'temperature'\?"),
    ({"params": {"response_format": [1]}}, r"unknown key; known here: temperature, top_p"),
    ({"params": {"temperature": 0.7}}, r":\d+: params.temperature: input should be a valid list"),
    ({"params": {"temperature": []}}, r":\d+: params.temperature: list should have at least 1 item"),
    ({"candidates": [{"teir": "x"}]}, r":\d+: candidates.0.teir: unknown key; did you mean 'tier'\?"),
    ({"candidates": [{"tier": 5}]}, r":\d+: candidates.0.tier: input should be a valid string"),
    ({"candidates": [5]}, r":\d+: candidates.0: a candidate is a model's key, `{tier: NAME}`, or a list"),
    ({"candidates": ["alpha", []]}, r":\d+: candidates.1: a candidate is a model's key"),
    (
        {"tasks": {"labels": {"judge": {"modell": "x"}}}},
        r":\d+: tasks.labels.judge.modell: unknown key; did you mean 'model'\?",
    ),
    (
        {"tasks": {"labels": {"judge": {"model": "x", "strategy": "pairs"}}}},
        r":\d+: tasks.labels.judge.strategy: input should be 'pairwise' or 'rubric'",
    ),
    ({"tasks": {"labels": {"judge": {"model": "x", "scale": 1}}}}, r":\d+: tasks.labels.judge.scale: input"),
    ({"tasks": {"labels": {"judge": {}}}}, r":\d+: tasks.labels.judge.model: field required"),
    ({"tasks": {"labels": {"parms": {}}}}, r":\d+: tasks.labels.parms: unknown key; did you mean 'params'\?"),
    ({"tasks": {"judge": {"lmit": 3}}}, r":\d+: tasks.judge.lmit: unknown key; did you mean 'limit'\?"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=lambda value: str(value)[:50])
def test_a_mistake_in_a_plan_is_told_with_its_place_and_what_to_do(tmp_path, change, said):
    project = write_project(tmp_path, 9, plan=change)
    path = project.configs / "sweeps" / "small.yaml"
    with pytest.raises(SweepError, match=r"small\.yaml" + said if said.startswith(":") else said) as caught:
        read_plan_file(path)
    line = path.read_text().splitlines()[int(str(caught.value).split(":")[1]) - 1]
    place = str(caught.value).split(": ")[1].split(".")
    assert any(part in line for part in place) or place[-1].isdigit(), (
        "the line that is named has the mistake"
    )


# ---- judges


def judged(tmp_path, **judge):
    models = ("alpha", "beta", "oracle")
    return write_project(
        tmp_path,
        9,
        models=models,
        plan={"candidates": ["alpha", "beta"], "tasks": {"labels": {"judge": {"model": "oracle"} | judge}}},
    )


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (
            {"model": "orakle"},
            "labels: judge: the registry has no model 'orakle'; it has: alpha, beta, oracle",
        ),
        ({"model": "beta"}, r"labels: judge: beta would judge its own answers \(candidate beta\)"),
    ],
)
def test_a_judge_that_cannot_judge_is_refused_with_its_reason(tmp_path, judge, said):
    with pytest.raises(SweepError, match=said):
        planned(judged(tmp_path, **judge))


def test_a_judge_needs_the_whole_grid(tmp_path):
    project = judged(tmp_path)
    change_config(project, "sweeps/small.yaml", lambda v: v.update(stop="decided"))
    with pytest.raises(SweepError, match="labels: a judged task needs `stop: grid`"):
        planned(project)


def test_a_judge_is_asked_without_the_params_that_candidates_are_tried_with(tmp_path):
    project = judged(tmp_path)
    change_config(project, "sweeps/small.yaml", lambda v: v.update(params={"temperature": [0.7]}))
    plan, _ = planned(project)
    assert plan.variants["oracle"].params == {}
    assert [key for key in plan.variants if key.startswith("oracle")] == ["oracle"]


def test_a_judge_is_paid_from_the_same_budget(tmp_path):
    """Its questions that do not fit are not asked; the candidates' answers are there all the same."""
    project = judged(tmp_path)
    change_config(project, "sweeps/small.yaml", lambda v: v.update(budget={"usd": 1.0, "calls": 40}))
    asked = []

    def answer(request):
        asked.append(request.body["model"])
        return '{"label": "praise"}' if request.body["model"] != "oracle-1" else '{"better": "tie"}'

    scripted = ScriptedTransport(answer)
    run = sweep(project, client_options={"transport": lambda: scripted})
    assert len(asked) <= 40
    assert asked.count("alpha-1") == asked.count("beta-1") == 12
    assert all(row["status"] == "ok" for row in rows_of(run))


def test_a_parameter_that_a_model_does_not_take_is_no_candidate_and_said(tmp_path):
    project = write_project(tmp_path, 9, plan={"params": {"temperature": [0.3]}})

    def forbid(value):
        value["models"]["beta"]["params"] = {"allow_temperature": False}

    change_config(project, "llm_model_registry.yaml", forbid)
    plan, _ = planned(project)
    assert plan.candidates == ("alpha", "alpha[temperature=0.3]")
    assert any(
        "beta[temperature=0.3] is no candidate: beta does not take temperature" in n for n in plan.notices
    )


def test_a_wrong_value_of_a_parameter_is_said_when_the_plan_is_made(tmp_path):
    project = write_project(tmp_path, 9, plan={"params": {"temperature": ["hot"]}})
    with pytest.raises(SweepError, match=r"task 'labels': params \{'temperature': 'hot'\}"):
        planned(project)
