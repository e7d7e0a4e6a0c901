"""A plan is checked and frozen before the first call; what is wrong is said with file, line and key."""

from __future__ import annotations

import pytest
import yaml

from llmbench.bench.plan import checked_run_id
from llmbench.bench.plan_build import make_plan
from llmbench.bench.plan_file import read_plan_file
from llmbench.errors import DatasetError, LLMBenchError, SweepError
from llmbench.routing.client import LLMClient
from tests.sweep_project import frozen_plan, open_project_client, write_project

GOOD = "name: small\ncandidates: [alpha]\ntasks:\n  labels: {}\n"


def refused(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LLMBenchError) as caught:
        read_plan_file(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "margn: 0.1\n", "broken.yaml:5: margn: unknown key; did you mean 'margin'?"),
        (GOOD + "zzz: 0.1\n", "broken.yaml:5: zzz: unknown key; known here: name, description, seed"),
        (GOOD + "margin: wide\n", "broken.yaml:5: margin: input should be a valid number"),
        (GOOD + "margin: '0.1'\n", "broken.yaml:5: margin: input should be a valid number"),
        (GOOD + "margin: 1.5\n", "broken.yaml:5: margin: input should be less than 1"),
        (GOOD + "repeats: 0\n", "broken.yaml:5: repeats: input should be greater than or equal to 1"),
        (GOOD + "repeats: true\n", "broken.yaml:5: repeats: input should be a valid integer"),
        (GOOD + "seed: 1.5\n", "broken.yaml:5: seed: input should be a valid integer"),
        ("name: ../x\ncandidates: [a]\ntasks: {t: {}}\n", "broken.yaml:1: name: string should match"),
        (
            "name: x\ncandidates: []\ntasks: {t: {}}\n",
            "broken.yaml:2: candidates: list should have at least 1",
        ),
        ("name: x\ncandidates: [a]\ntasks: {}\n", "broken.yaml:3: tasks: dictionary should have at least 1"),
        (
            "name: x\ncandidates: [a]\ntasks:\n  t:\n    limt: 3\n",
            "broken.yaml:5: tasks.t.limt: unknown key; did you mean 'limit'?",
        ),
        (
            "name: x\ncandidates: [a]\ntasks:\n  t: {limit: many}\n",
            "broken.yaml:4: tasks.t.limit: input should be",
        ),
        ("candidates: [a]\ntasks: {t: {}}\n", "broken.yaml: name: field required"),
        ("", "broken.yaml: name: field required"),
        ("- a\n", "broken.yaml:1: the file must hold a mapping"),
        ("name: x\nname: y\n", "broken.yaml:2: the key 'name' stands here and in line 1"),
        ("name: [x\n", "broken.yaml:2: not valid YAML"),
    ],
)
def test_a_wrong_plan_file_is_refused_with_its_line_and_key(tmp_path, text, said):
    assert refused(tmp_path, text).startswith(said)


def test_a_plan_that_does_not_exist_is_named_beside_those_that_do(tmp_path):
    (tmp_path / "small.yaml").write_text(GOOD)
    with pytest.raises(SweepError, match=r"no sweep plan large\.yaml in .*; there are: small"):
        read_plan_file(tmp_path / "large.yaml")


def test_a_plan_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SweepError, match="cannot be read as UTF-8"):
        read_plan_file(tmp_path / "p.yaml")
    with pytest.raises(SweepError, match="cannot be read"):
        read_plan_file(tmp_path)


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path, 9, models=("alpha", "beta", "gamma"), tasks=("labels", "notes"))


def test_the_plan_file_that_is_shipped_can_be_read():
    from tests.sweep_project import ROOT

    plan = read_plan_file(ROOT / "configs" / "sweeps" / "default.yaml")
    assert set(plan.tasks) <= {path.name for path in (ROOT / "datasets").iterdir()}


def test_the_same_plan_has_the_same_run_id_and_another_seed_or_limit_another(project):
    with open_project_client(project) as client:
        plans = [frozen_plan(project, client, **choice) for choice in ({}, {}, {"seed": 7}, {"limit": 3})]
    ids = [plan.run_id for plan in plans]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_a_limit_of_the_command_applies_below_the_files_own(project):
    path = project.configs / "sweeps" / "small.yaml"
    file = yaml.safe_load(path.read_text())
    file["tasks"] = {"labels": {"limit": 2}, "notes": None}
    path.write_text(yaml.safe_dump(file))
    with open_project_client(project) as client:
        plan = frozen_plan(project, client, limit=5)
        assert [len(task.samples) for task in plan.tasks] == [2, 5]
        alone = frozen_plan(project, client, limit=1, tasks=["notes"])
        assert [(task.task, len(task.samples)) for task in alone.tasks] == [("notes", 1)]


def test_tasks_are_taken_in_the_files_order_whatever_order_they_are_asked_in(project):
    with open_project_client(project) as client:
        one = frozen_plan(project, client, tasks=["notes", "labels", "notes"])
        other = frozen_plan(project, client, tasks=["labels", "notes"])
    assert [task.task for task in one.tasks] == ["labels", "notes"]
    assert one.run_id == other.run_id


def test_a_shorter_draw_is_a_prefix_of_a_longer_one(project):
    with open_project_client(project) as client:
        short, long = (frozen_plan(project, client, limit=limit).tasks[0].samples for limit in (4, 9))
    assert long[:4] == short


def test_the_reference_is_what_the_task_is_routed_to_today_and_is_measured_too(project):
    (project.configs / "llm_task_overrides.yaml").write_text("tasks: {labels: {models: [gamma]}}\n")
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(GOOD)
    with open_project_client(project) as client:
        task = make_plan(read_plan_file(path), client, datasets=project.datasets).tasks[0]
    assert (task.reference, task.candidates) == ("gamma", ("gamma", "alpha"))


def test_a_candidate_may_be_named_by_its_id_and_counts_once(project):
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(GOOD.replace("[alpha]", "[alpha-1, alpha, beta]"))
    with open_project_client(project) as client:
        plan = make_plan(read_plan_file(path), client, datasets=project.datasets)
    assert plan.candidates == ("alpha", "beta")


def _move_gamma_far_away(project):
    """Model gamma is at a provider that needs a key."""
    router = project.configs / "llm_router.yaml"
    config = yaml.safe_load(router.read_text())
    config["providers"]["far"] = {"base_url": "https://far.example/v1", "env_api_key": "FAR_KEY"}
    router.write_text(yaml.safe_dump(config))
    registry = project.configs / "llm_model_registry.yaml"
    models = yaml.safe_load(registry.read_text())
    models["models"]["gamma"]["provider"] = "far"
    registry.write_text(yaml.safe_dump(models))


def test_a_candidate_without_its_key_is_left_out_with_a_notice(project):
    _move_gamma_far_away(project)
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
    assert plan.candidates == ("alpha", "beta")
    assert plan.notices == ("gamma (gamma-1) cannot be called here and is left out; set its key",)
    assert "gamma" in plan._repr_html_()
    assert plan.facts()["unreachable"] == ["gamma"]
    with LLMClient(project.configs, variables={"FAR_KEY": "k" * 20}, log_path=project.root / "log") as client:
        assert frozen_plan(project, client).candidates == ("alpha", "beta", "gamma")


def test_a_plan_that_names_its_providers_asks_no_other_whatever_keys_are_set(project):
    _move_gamma_far_away(project)
    (project.configs / "llm_task_overrides.yaml").write_text("tasks: {labels: {models: [gamma, beta]}}\n")
    path = project.configs / "sweeps" / "small.yaml"
    with LLMClient(project.configs, variables={"FAR_KEY": "k" * 20}, log_path=project.root / "log") as client:

        def planned(text):
            path.write_text(text)
            return make_plan(read_plan_file(path), client, datasets=project.datasets)

        assert planned(GOOD).tasks[0].reference == "gamma"
        plan = planned(GOOD + "providers: [stub]\n")
        assert (plan.tasks[0].reference, plan.candidates) == ("beta", ("beta", "alpha"))
        assert plan.unreachable == ("gamma",)
        left_out = planned(GOOD.replace("[alpha]", "[alpha, gamma]") + "providers: [stub]\n")
        assert left_out.notices[0].endswith("left out; the plan's providers lack far")
        with pytest.raises(SweepError, match="names provider 'stup'; llm_router"):
            planned(GOOD + "providers: [stup]\n")


def test_no_candidate_at_all_is_an_error_that_names_each(project):
    registry = project.configs / "llm_model_registry.yaml"
    registry.write_text(registry.read_text().replace("provider: stub", "provider: far"))
    router = project.configs / "llm_router.yaml"
    router.write_text("providers: {far: {base_url: 'https://far.example/v1', env_api_key: FAR_KEY}}\n")
    with (
        open_project_client(project) as client,
        pytest.raises(SweepError, match=r"no candidate can be called: alpha .*; beta .*; gamma"),
    ):
        frozen_plan(project, client)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidates": ["alfa"]}, "names candidate 'alfa'; the registry has: alpha, beta, gamma"),
        ({"tasks": {"nowhere": {}}}, r"nowhere.*card\.yaml: cannot be read"),
        ({"tasks": {"labels": {"dataset": "nowhere"}}}, r"nowhere.*card\.yaml: cannot be read"),
    ],
)
def test_what_a_plan_names_and_nobody_has_is_one_clear_error(project, change, said):
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with (
        open_project_client(project) as client,
        pytest.raises((SweepError, DatasetError), match=said) as caught,
    ):
        frozen_plan(project, client)
    assert "\n" not in str(caught.value)


def test_a_task_that_the_plan_lacks_is_named_beside_those_it_has(project):
    with (
        open_project_client(project) as client,
        pytest.raises(SweepError, match="plan 'small' has no task 'lables'; it has: labels, notes"),
    ):
        frozen_plan(project, client, tasks=["lables"])


@pytest.mark.parametrize("run_id", ["example", "small-1a2b3c4d", "A.b_c-9", "x" * 64])
def test_a_plain_run_id_is_taken(run_id):
    assert checked_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "a..b", "/x", "-x", ".x", "a b", "a\n", "x" * 65]
)
def test_a_run_id_that_could_leave_the_reports_folder_is_refused(run_id):
    with pytest.raises(SweepError, match="cannot be a folder's name"):
        checked_run_id(run_id)


def test_a_plan_is_shown_escaped(project):
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"description": "<b>"}))
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
    assert plan.facts()["run_id"] == plan.run_id
    assert ">small-" in plan._repr_html_()
