"""Cells: every question to every candidate once, in an order that is fair to the candidates."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench import cells as cells_module
from llmbench.bench.cells import Cell, make_cells
from llmbench.errors import LLMBenchError
from tests.sweep_project import frozen_plan, open_project_client, write_project


def lanes(cells, finished=()):
    """The lanes with the cells that they give."""
    return {lane: list(waiting) for lane, waiting in cells_module.lanes(cells, finished).items()}


def grid(tasks, repeats, samples, models, lane=lambda _model: "one"):
    """The cells of a plan in plan order; a cell's task and sample are looked at by name alone here."""
    return [
        Cell(
            task=SimpleNamespace(task=task),
            sample=SimpleNamespace(id=f"s{number}"),
            model=model,
            repeat=repeat,
            lane=lane(model),
            fingerprint=f"{task}/{number}/{model}/{repeat}",
        )
        for task in tasks
        for repeat in range(repeats)
        for number in range(samples)
        for model in models
    ]


def neighbours_alike(cells):
    pairs = itertools.pairwise(cells)
    return [(a.name, b.name) for a, b in pairs if (a.task.task, a.sample.id) == (b.task.task, b.sample.id)]


sizes = {"samples": st.integers(4, 23), "candidates": st.integers(1, 7), "repeats": st.integers(1, 3)}


@given(tasks=st.integers(1, 3), **sizes)
def test_the_calling_order_is_a_permutation_and_no_two_neighbours_ask_the_same(
    tasks, samples, candidates, repeats
):
    cells = grid([f"t{n}" for n in range(tasks)], repeats, samples, [f"m{n}" for n in range(candidates)])
    ordered = lanes(cells)["one"]
    assert Counter(cell.fingerprint for cell in ordered) == Counter(cell.fingerprint for cell in cells)
    assert neighbours_alike(ordered) == []


@given(**sizes)
def test_candidates_take_turns(samples, candidates, repeats):
    models = [f"m{n}" for n in range(candidates)]
    ordered = lanes(grid(["t"], repeats, samples, models))["one"]
    assert [cell.model for cell in ordered] == models * (samples * repeats)


@given(candidates=st.integers(2, 6), more=st.integers(0, 9))
def test_two_calls_of_one_sample_lie_two_turns_apart(candidates, more):
    """A server's prompt cache has seen other prompts in between."""
    models = [f"m{n}" for n in range(candidates)]
    ordered = lanes(grid(["t"], 1, 4 * candidates + more, models))["one"]
    places = {}
    for place, cell in enumerate(ordered):
        places.setdefault(cell.sample.id, []).append(place)
    gaps = [b - a for found in places.values() for a, b in itertools.pairwise(found)]
    assert min(gaps) == 2 * candidates - 1


@given(data=st.data(), **sizes)
def test_a_stopped_sweep_goes_on_in_the_order_it_began_with(data, samples, candidates, repeats):
    cells = grid(["t", "u"], repeats, samples, [f"m{n}" for n in range(candidates)])
    ordered = lanes(cells)["one"]
    done = data.draw(st.integers(0, len(ordered)))
    left = lanes(cells, finished={cell.fingerprint for cell in ordered[:done]})
    assert left.get("one", []) == ordered[done:]


@given(seed=st.integers(0, 1000), **sizes)
def test_whatever_is_finished_neighbours_ask_the_same_only_when_nothing_else_is_left(
    seed, samples, candidates, repeats
):
    cells = grid(["t"], repeats, samples, [f"m{n}" for n in range(candidates)])
    finished = {
        cell.fingerprint for cell in cells if random.Random(f"{seed}{cell.fingerprint}").random() < 0.7
    }
    ordered = lanes(cells, finished).get("one", [])
    assert {cell.fingerprint for cell in ordered} == {cell.fingerprint for cell in cells} - finished
    for index in range(1, len(ordered)):
        if ordered[index].sample.id == ordered[index - 1].sample.id:
            assert {cell.sample.id for cell in ordered[index:]} == {ordered[index].sample.id}


def test_candidates_of_two_servers_queue_apart():
    cells = grid(["t"], 1, 5, ["a", "b", "c"], lane=lambda model: "left" if model == "a" else "right")
    found = lanes(cells)
    assert {lane: {cell.model for cell in waiting} for lane, waiting in found.items()} == {
        "left": {"a"},
        "right": {"b", "c"},
    }
    assert lanes(cells, finished={cell.fingerprint for cell in cells}) == {}


@pytest.fixture
def project(tmp_path):
    return write_project(tmp_path, 9, plan={"repeats": 2}, samples=[f"text {n}" for n in range(5)])


def cells_of(project):
    with open_project_client(project) as client:
        return make_cells(frozen_plan(project, client), client)


def test_a_plan_has_one_cell_for_each_sample_candidate_and_repeat(project):
    cells = cells_of(project)
    assert len({cell.name for cell in cells}) == len({cell.fingerprint for cell in cells}) == len(cells) == 20
    assert cells == cells_of(project)
    assert {cell.lane for cell in cells} == {"stub"}


def test_a_cell_is_sent_to_its_own_candidate_without_fallback(project):
    for cell in cells_of(project):
        call = cell.call()
        assert (call["models"], call["allow_fallback"]) == ([cell.model], False)


@pytest.mark.parametrize("change", [{"max_tokens": 17}, {"temperature": 0.5}, {"stop": ["#"]}], ids=str)
def test_another_option_is_another_question(project, change):
    before = {cell.name: cell.fingerprint for cell in cells_of(project)}
    card = project.datasets / "labels" / "card.yaml"
    value = yaml.safe_load(card.read_text())
    value["options"] |= change
    card.write_text(yaml.safe_dump(value))
    after = {cell.name: cell.fingerprint for cell in cells_of(project)}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_a_sample_that_a_candidate_cannot_take_is_one_clear_error(project):
    registry = project.configs / "llm_model_registry.yaml"
    models = yaml.safe_load(registry.read_text())
    models["models"]["beta"]["capabilities"]["context_tokens"] = 20
    registry.write_text(yaml.safe_dump(models))
    with pytest.raises(LLMBenchError, match=r"beta.* do not fit its context of 20"):
        cells_of(project)
    models["models"]["beta"]["fallback_model"] = "alpha"
    registry.write_text(yaml.safe_dump(models))
    with pytest.raises(LLMBenchError, match=r"beta.* do not fit its context of 20"):
        cells_of(project)
