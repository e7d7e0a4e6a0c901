"""A ledger in an object store: taken over before, copied after, nothing lost and nothing twice."""

from __future__ import annotations

import pytest

from llmbench.bench.ledger_store import stored_ledger
from llmbench.errors import SweepError
from tests.sweep_project import read_lines, stub_provider, sweep, write_project


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


def swept(root, stub, url, samples):
    project = write_project(root, stub.port, samples=samples)
    with stored_ledger(url, project.ledger):
        run = sweep(project)
    return project, run


def test_a_second_machine_pays_for_what_is_new_alone(tmp_path, stub):
    url = f"file://{tmp_path}/store/deep"
    first, run = swept(tmp_path / "one", stub, url, ["a", "b"])
    before = stub.count
    second, again = swept(tmp_path / "two", stub, url, ["a", "b"])
    assert (run.calls, again.calls, again.cached, stub.count) == (4, 0, 4, before)
    stored = (tmp_path / "store" / "deep" / "ledger.jsonl").read_bytes()
    assert stored == first.ledger.read_bytes() == second.ledger.read_bytes()
    headers = tmp_path / "store" / "deep" / "headers.jsonl"
    assert len(read_lines(headers)) == 1, "what was declared goes along, and is the same"


def test_both_sides_lines_are_kept_once(tmp_path, stub):
    url = "memory://sweeps"
    one, _ = swept(tmp_path / "one", stub, url, ["a"])
    alone = write_project(tmp_path / "two", stub.port, samples=["b"])
    sweep(alone)
    own = read_lines(alone.ledger)
    with stored_ledger(url, alone.ledger):
        pass
    together = read_lines(alone.ledger)
    assert together == own + read_lines(one.ledger)
    with stored_ledger(url, alone.ledger), stored_ledger(url, one.ledger):
        pass
    assert sorted(map(str, read_lines(one.ledger))) == sorted(map(str, together))


def test_a_store_that_cannot_be_used_is_one_clear_error_before_anything_is_sent(tmp_path):
    with (
        pytest.raises(SweepError, match="the ledger store nowhere://x cannot be used: Protocol not known"),
        stored_ledger("nowhere://x", tmp_path / "ledger.jsonl"),
    ):
        raise AssertionError("the sweep began")


def test_the_ledger_is_stored_when_the_sweep_fails_too(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a"])

    def fails_later():
        with stored_ledger(f"file://{tmp_path}/store", project.ledger):
            sweep(project)
            raise RuntimeError("later")

    with pytest.raises(RuntimeError):
        fails_later()
    assert (tmp_path / "store" / "ledger.jsonl").read_bytes() == project.ledger.read_bytes()
