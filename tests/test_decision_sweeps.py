"""The simulator tells the truth: exact against integrals of its own scores, and against large samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from tests.decision_scenarios import (
    ALTERNATIVES,
    CHAINS,
    FIFTH_DISAGREE,
    MARGIN,
    NULLS,
    REPORT_TASKS,
    SCENARIOS,
    models,
)
from tests.decision_sweeps import (
    SLOPE,
    SimulatedModel,
    Sweep,
    World,
    calibrate,
    discordance,
    mean_score,
    replay,
    score,
)

N = 200_000


def close_to(truth, sample) -> bool:
    """Within five standard errors of the mean of a sample."""
    sample = np.asarray(sample, dtype=float)
    return abs(sample.mean() - truth) <= 5.0 * sample.std() / math.sqrt(sample.size) + 1e-12


def share_close_to(truth, flags) -> bool:
    """The same for a share, which may be too rare to be in the sample."""
    return abs(np.mean(flags) - truth) <= 5.0 * math.sqrt(truth * (1.0 - truth) / len(flags)) + 1e-12


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_every_model_has_the_quality_that_was_declared(scenario):
    for model in scenario.world.models:
        tolerance = 1e-9 if model.scale == "binary" else 1e-6
        assert scenario.world.truth(model.name).quality == pytest.approx(model.quality, abs=tolerance)


@pytest.mark.parametrize("scenario", NULLS, ids=lambda scenario: scenario.name)
def test_no_candidate_of_a_null_may_be_promoted(scenario):
    assert scenario.acceptable == []
    assert scenario.right == "big"


def test_all_but_two_nulls_lie_exactly_on_the_boundary():
    off = {
        scenario.name
        for scenario in NULLS
        for name in scenario.world.candidates
        if abs(scenario.world.truth(name).delta + MARGIN) > 1e-9
    }
    assert off == {"null_k4_below", "null_slo"}
    assert SCENARIOS["null_slo"].world.truth("small1").slo_share == pytest.approx(0.90, abs=1e-12)


def test_the_scenarios_are_as_many_as_the_specification_names():
    assert len(NULLS) == 21 + 1  # and one more: a latency share exactly at its limit
    assert len(ALTERNATIVES) == 18
    assert len(REPORT_TASKS) == 10
    assert len(SCENARIOS) == len(NULLS) + len(ALTERNATIVES)


def _mean_by_integral(model, threshold):
    """E[score] over the latent values, by quadrature of the very function that draws the scores."""

    def at(z, grading):
        return float(score(model, threshold, np.array([z]), np.array([grading]))[0]) * norm.pdf(z)

    steps = list(np.array([-0.9, -0.3, 0.0, 0.3, 0.9]) + threshold) if math.isfinite(threshold) else None
    # A skewed score is its value without a catastrophe times P(no catastrophe): one integral after the other.
    if model.scale == "skewed":
        values = quad(
            lambda g: float(score(model, math.inf, np.zeros(1), np.array([g]))[0]) * norm.pdf(g), -10, 10
        )[0]
        return values * norm.cdf(threshold)
    return quad(lambda z: at(z, 0.0), -10, 10, points=steps, limit=300)[0]


@pytest.mark.parametrize(
    ("scale", "mean", "level"),
    [("binary", 0.8, 1.0), ("binary", 0.99, 1.0), ("five", 0.7, 1.0), ("five", 0.65, 1.0),
     ("graded", 0.7, 1.0), ("graded", 0.75, 1.0), ("skewed", 0.85, 0.92)],
)  # fmt: skip
def test_the_calibrated_threshold_gives_the_mean_by_integration_too(scale, mean, level):
    model = SimulatedModel("m", mean, 0.001, scale=scale, level=level)
    threshold = calibrate(model, mean)
    assert mean_score(model, threshold) == pytest.approx(mean, abs=1e-12)
    assert _mean_by_integral(model, threshold) == pytest.approx(mean, abs=1e-7)


@pytest.mark.parametrize(
    "name",
    ["null_binary", "null_rare_loss_400", "null_five", "null_graded", "null_skewed_400", "null_clusters",
     "null_failures", "null_timeouts", "null_epochs", "alt_slo", "alt_failures"],
)  # fmt: skip
def test_a_large_sample_agrees_with_the_truth(name):
    scenario = SCENARIOS[name]
    world = scenario.world
    size = max(world.cluster_size, 1)
    large = World(**{**_fields(world), "prompts": N // world.epochs // size * size})
    sweep = Sweep(large, 11)
    reference = sweep.table("big")
    for model in world.models:
        table, truth = sweep.table(model.name), world.truth(model.name)
        unit = world.epochs * size
        assert close_to(truth.quality, table["score"].to_numpy().reshape(-1, unit).mean(axis=1))
        difference = (table["score"] - reference["score"]).to_numpy().reshape(-1, unit).mean(axis=1)
        assert close_to(truth.delta, difference)
        assert close_to(truth.cost_usd, table["cost_usd"].to_numpy().reshape(-1, world.epochs).mean(axis=1))
        assert share_close_to(truth.failure_rate, table["status"] != "ok")
        in_time = (table["status"] == "ok") & (table["latency_ms"] <= world.limit_ms)
        assert share_close_to(truth.slo_share, in_time)


def _fields(world):
    return {name: getattr(world, name) for name in world.__dataclass_fields__ if name != "_by_name"}


def test_failed_calls_score_nothing_and_a_timeout_takes_the_whole_time():
    table = Sweep(World(CHAINS.models, 5_000, outage=0.6, timeout_ms=10_000.0), 3).table("small")
    assert set(table["status"]) == {"ok", "error", "timeout"}
    assert (table.loc[table["status"] != "ok", "score"] == 0.0).all()
    assert (table.loc[table["status"] == "timeout", "latency_ms"] == 10_000.0).all()
    assert (table.loc[table["status"] == "timeout", "cost_usd"] > 0.0).all()
    assert (table.loc[table["status"] == "ok", "latency_ms"] <= 10_000.0).all()


def test_outages_hit_models_together():
    sweep = Sweep(CHAINS, 5)
    small, middle = (sweep.table(name)["status"] == "error" for name in ("small", "middle"))
    assert (small & middle).mean() > 3.0 * small.mean() * middle.mean()


def test_models_of_quality_80_disagree_on_a_fifth_of_the_prompts():
    assert discordance(0.8, 0.8, FIFTH_DISAGREE) == pytest.approx(0.20, abs=1e-4)
    sweep = Sweep(World(models(0.80, [0.0]), N, difficulty=FIFTH_DISAGREE), 2)
    assert close_to(0.20, sweep.table("big")["score"] != sweep.table("small1")["score"])


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("null_weak", 0.05, 0.25), ("null_binary", 0.2, 0.7), ("null_graded", 0.2, 0.7), ("null_five", 0.2, 0.7),
     ("alt_equal", 0.2, 0.7)],
)  # fmt: skip
def test_paired_scores_correlate(name, lowest, highest):
    sweep = Sweep(World(**{**_fields(SCENARIOS[name].world), "prompts": N}), 9)
    big, small = sweep.table("big")["score"], sweep.table("small1")["score"]
    assert lowest < np.corrcoef(big, small)[0, 1] < highest


def test_differences_lean_together_within_a_cluster_and_within_a_prompts_repeats():
    for name, size in (("null_clusters", 8), ("null_epochs", 6)):
        world = SCENARIOS[name].world
        sweep = Sweep(World(**{**_fields(world), "prompts": 24_000}), 4)
        d = (sweep.table("small1")["score"] - sweep.table("big")["score"]).to_numpy().reshape(-1, size)
        assert d.mean(axis=1).var() > 2.0 * d.var() / size


def test_costs_are_30_to_60_times_apart():
    truths = SCENARIOS["mix_k6_several"].truths
    ratios = [truths["big"].cost_usd / truths[name].cost_usd for name in truths if name != "big"]
    assert min(ratios) == pytest.approx(30.0)
    assert max(ratios) == pytest.approx(60.0)


def test_a_seed_is_a_sweep_and_the_order_of_pulls_changes_nothing():
    world = SCENARIOS["null_epochs"].world
    one, two = Sweep(world, 7), Sweep(world, 7)
    two.pull("small1", two.prompts[40:50])
    ids = one.prompts[:30]
    assert one.pull("big", ids).equals(two.pull("big", ids))
    assert one.pull("small1", ids).equals(two.pull("small1", ids))
    assert not one.pull("big", ids).equals(Sweep(world, 8).pull("big", ids))


def test_a_pull_has_every_epoch_of_the_prompts_asked_for_in_their_order():
    sweep = Sweep(SCENARIOS["null_epochs"].world, 1)
    for ids in (["p00003", "p00004"], ["p00009", "p00002"]):
        rows = sweep.pull("big", ids)
        assert rows["prompt_id"].tolist() == [name for name in ids for _ in range(6)]
        assert rows["epoch"].tolist() == [*range(6)] * 2
    assert sweep.called == {"big": {3, 4, 9, 2}}


def test_a_quality_that_no_score_reaches_is_refused():
    failing = SimulatedModel("m", 0.97, 0.001, error=0.05)
    with pytest.raises(ValueError, match="no score reaches"):
        World((failing,), 10)


@pytest.mark.parametrize("chain", [("small", "big"), ("small", "middle", "big"), ("middle", "small")])
def test_a_chain_replayed_on_100_000_prompts_has_its_exact_score_and_cost(chain):
    truth = CHAINS.truth(chain)
    quality, cost, failed = replay(Sweep(CHAINS, 6), chain)
    assert quality == pytest.approx(truth.quality, rel=0.01)
    assert cost == pytest.approx(truth.cost_usd, rel=0.01)
    assert failed == pytest.approx(truth.failure_rate, rel=0.15)


def test_a_chain_of_models_that_fail_independently_has_the_closed_form():
    world = World(CHAINS.models, 10, timeout_ms=10_000.0)
    first, last = world.truth("small"), world.truth("big")
    chain = world.truth(("small", "big"))
    assert chain.quality == pytest.approx(first.quality + first.failure_rate * last.quality, abs=1e-10)
    assert chain.cost_usd == pytest.approx(first.cost_usd + first.failure_rate * last.cost_usd, abs=1e-10)
    assert chain.failure_rate == pytest.approx(first.failure_rate * last.failure_rate, abs=1e-10)


def test_a_graded_score_is_never_outside_its_scale():
    assert set(SLOPE) == {"graded", "skewed"}
    for name in ("null_graded", "null_five", "null_skewed_400"):
        for model in ("big", "small1"):
            assert Sweep(SCENARIOS[name].world, 1).table(model)["score"].between(0.0, 1.0).all()
