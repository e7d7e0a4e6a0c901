"""Simulated sweeps whose truth is known exactly: what the promises of `decide` are measured on.

A model's score on a prompt depends on a latent normal value, the sum of four parts whose variances add up to
one: the prompt's difficulty (shared by all models, so that paired scores correlate), the model's leaning on
the prompt's cluster, its leaning on the prompt itself (the same in every epoch) and the luck of the call.
The latent value is standard normal whatever the parts, so the mean score has a closed form and a declared
quality is met to rounding error:

* binary: 1 below a threshold t, mean Phi(t);
* five: points 0, 1/4, .. 1 by four thresholds, mean of the four Phi;
* graded: Phi(a - b z), mean Phi(a / sqrt(1 + b^2));
* skewed: graded with a small spread around `level`, and 0 beyond a threshold (the catastrophe).

Errors have a latent value of their own with a part shared by all models of a prompt (an outage). A latency is
lognormal; beyond the time limit the call is a timeout. Neither depends on the score, so quality is the mean
score of an answer times the share of calls that are answered. An error costs nothing, a timeout as much as an
answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Arm = str | tuple[str, ...]

#: Distances between the four thresholds of five-point scores, and the slopes of graded and skewed ones.
FIVE_POINTS = (-0.9, -0.3, 0.3, 0.9)
SLOPE = {"graded": 0.8, "skewed": 0.25}
#: Variance shares that models of one prompt have in common: log cost (long prompts), skewed grading.
COMMON_COST, COMMON_GRADING = 0.5, 0.6
COST_SPREAD = 0.3


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model: what it is declared to do.

    Attributes:
        quality: mean score in [0, 1], failed calls counted as 0.
        cost_usd: mean cost of a call that is not an error.
        scale: binary, five, graded or skewed.
        level: skewed only: mean score of an answer that is no catastrophe.
        error: share of calls that end as an error.
        latency_ms: median latency.
        latency_spread: standard deviation of log latency.
    """

    name: str
    quality: float
    cost_usd: float
    scale: str = "binary"
    level: float = 1.0
    error: float = 0.0
    latency_ms: float = 800.0
    latency_spread: float = 0.5


@dataclass(frozen=True, slots=True)
class Truth:
    """What an arm does on average over the prompts to come; slo_share only for a single model."""

    quality: float
    delta: float
    cost_usd: float
    failure_rate: float
    slo_share: float | None


@dataclass(frozen=True)
class World:
    """Models, the reference first, and what couples them.

    Attributes:
        prompts: size of the pool.
        difficulty: share of the latent variance that is the prompt's.
        cluster_size: prompts per cluster, adjacent in the order of calls.
        leaning: share of the variance that is a model's on a cluster.
        habit: share of the variance that is a model's on a prompt, whatever the epoch.
        outage: share of the variance of errors that all models of a prompt have in common.
        timeout_ms: time limit of a call.
        limit_ms: latency that the service level asks for.
    """

    models: tuple[SimulatedModel, ...]
    prompts: int
    difficulty: float = 0.5
    cluster_size: int = 1
    leaning: float = 0.0
    habit: float = 0.0
    epochs: int = 1
    outage: float = 0.0
    timeout_ms: float = 60_000.0
    limit_ms: float = 5_000.0
    _by_name: dict[str, SimulatedModel] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {model.name: model for model in self.models})
        for model in self.models:
            if not 0.0 <= self.answer_quality(model) <= model.level:
                raise ValueError(f"{model.name}: no score reaches quality {model.quality}")

    @property
    def reference(self) -> str:
        return self.models[0].name

    @property
    def candidates(self) -> list[str]:
        return [model.name for model in self.models[1:]]

    def timeout_share(self, model: SimulatedModel) -> float:
        """P(latency over the time limit)."""
        return float(ndtr(-math.log(self.timeout_ms / model.latency_ms) / model.latency_spread))

    def answer_quality(self, model: SimulatedModel) -> float:
        """Mean score of a call that is answered."""
        return model.quality / ((1.0 - model.error) * (1.0 - self.timeout_share(model)))

    def truth(self, arm: Arm) -> Truth:
        """The exact truth about a model or a fallback chain, from the thresholds that the sweeps use."""
        names = (arm,) if isinstance(arm, str) else arm
        quality, cost, failure = self._replayed([self._by_name[name] for name in names])
        today = self._replayed([self.models[0]])[0]
        slo = self._slo_share(self._by_name[names[0]]) if len(names) == 1 else None
        return Truth(quality, quality - today, cost, failure, slo)

    def _slo_share(self, model: SimulatedModel) -> float:
        limit = min(self.limit_ms, self.timeout_ms)
        return float((1.0 - model.error) * ndtr(math.log(limit / model.latency_ms) / model.latency_spread))

    def _replayed(self, chain: Sequence[SimulatedModel]) -> tuple[float, float, float]:
        """Quality, cost and failure rate of a chain; exact given the outage, integrated over it."""
        quality = cost = 0.0
        for k, model in enumerate(chain):
            reached = self._failed_together(chain[:k], None)
            errors = self._failed_together(chain[:k], model)
            answered = (reached - errors) * (1.0 - self.timeout_share(model))
            quality += answered * mean_score(model, calibrate(model, self.answer_quality(model)))
            cost += (reached - errors) * model.cost_usd
        return quality, cost, self._failed_together(chain, None)

    def _failed_together(self, failed: Sequence[SimulatedModel], in_error: SimulatedModel | None) -> float:
        """P(each of `failed` ends as error or timeout, and `in_error` as an error) on one prompt."""

        def given(outage: float) -> float:
            chance = 1.0
            for model in failed:
                chance *= 1.0 - (1.0 - self._error_given(model, outage)) * (1.0 - self.timeout_share(model))
            return chance * (1.0 if in_error is None else self._error_given(in_error, outage))

        if not failed and in_error is None:
            return 1.0
        return _expectation(given)

    def _error_given(self, model: SimulatedModel, outage: float) -> float:
        return float(
            ndtr((ndtri(model.error) - math.sqrt(self.outage) * outage) / math.sqrt(1 - self.outage))
        )


def _expectation(function) -> float:
    """Mean of a function of a standard normal value, by adaptive quadrature."""

    def weighted(z: float) -> float:
        return function(z) * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

    return float(quad(weighted, -12.0, 12.0, epsabs=1e-13, epsrel=1e-12, limit=400, points=[0.0])[0])


# --- scores ---------------------------------------------------------------------------------------------


def calibrate(model: SimulatedModel, mean: float) -> float:
    """The threshold (or shift) at which an answer's mean score is `mean`."""
    if model.scale == "five":
        return float(brentq(lambda shift: _five_mean(shift) - mean, -12.0, 12.0, xtol=1e-14, rtol=1e-14))
    if model.scale == "graded":
        return float(ndtri(mean)) * math.hypot(1.0, SLOPE["graded"])
    return float(ndtri(mean / model.level))


def mean_score(model: SimulatedModel, threshold: float) -> float:
    """The mean score of an answer at a threshold: the inverse of `calibrate`."""
    if model.scale == "five":
        return _five_mean(threshold)
    if model.scale == "graded":
        return float(ndtr(threshold / math.hypot(1.0, SLOPE["graded"])))
    return model.level * float(ndtr(threshold))


def score(model: SimulatedModel, threshold: float, z: np.ndarray, grading: np.ndarray) -> np.ndarray:
    """Scores of answers with latent values z; `grading` is the second latent value of skewed scores."""
    if model.scale == "five":
        return sum((z < threshold + step).astype(float) for step in FIVE_POINTS) / len(FIVE_POINTS)
    if model.scale == "graded":
        return ndtr(threshold - SLOPE["graded"] * z)
    if model.scale == "skewed":
        slope = SLOPE["skewed"]
        return (z < threshold) * ndtr(ndtri(model.level) * math.hypot(1.0, slope) - slope * grading)
    return (z < threshold).astype(float)


def _five_mean(shift: float) -> float:
    return float(np.mean(ndtr(shift + np.array(FIVE_POINTS))))


def discordance(a: float, b: float, difficulty: float) -> float:
    """P(two 0/1 models of quality a and b disagree on a prompt)."""
    own = math.sqrt(1.0 - difficulty)

    def both(z: float) -> float:
        return float(np.prod(ndtr((ndtri([a, b]) - math.sqrt(difficulty) * z) / own)))

    return a + b - 2.0 * _expectation(both)


def latency_with_timeouts(share: float, timeout_ms: float, spread: float = 0.5) -> float:
    """The median latency at which a given share of calls runs into the time limit."""
    return timeout_ms * math.exp(spread * float(ndtri(share)))


# --- sweeps ---------------------------------------------------------------------------------------------


class Sweep:
    """One sweep of a world: every model's answers to a fresh sample of prompts, drawn from a seed.

    A model's answers are drawn when it is first pulled, from a stream of its own: the order of the pulls
    changes nothing.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.prompts = [f"p{i:05d}" for i in range(world.prompts)]
        self.called: dict[str, set[int]] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        draw = np.random.default_rng([seed, 0]).standard_normal((4, world.prompts))
        self._difficulty, self._outage, self._length, self._grading = draw

    @cached_property
    def clusters(self) -> dict[str, str] | None:
        """prompt id -> cluster id; None when every prompt is a cluster of its own."""
        size = self.world.cluster_size
        return None if size == 1 else {p: f"c{i // size:04d}" for i, p in enumerate(self.prompts)}

    def pull(self, model: str, prompt_ids: Sequence[str]) -> pd.DataFrame:
        """The rows of a model on some prompts, all epochs, as `decide` asks for them."""
        places = [int(prompt[1:]) for prompt in prompt_ids]
        self.called.setdefault(model, set()).update(places)
        table, epochs = self.table(model), self.world.epochs
        first, last = places[0], places[-1]
        if places == list(range(first, last + 1)):
            return table.iloc[first * epochs : (last + 1) * epochs]
        rows = np.add.outer(np.array(places) * epochs, np.arange(epochs)).ravel()
        return table.take(rows)

    def table(self, model: str) -> pd.DataFrame:
        """All rows of a model, prompt by prompt."""
        if model not in self._tables:
            place = next(i for i, each in enumerate(self.world.models) if each.name == model)
            self._tables[model] = self._draw(self.world.models[place], place)
        return self._tables[model]

    def _draw(self, model: SimulatedModel, place: int) -> pd.DataFrame:
        world = self.world
        n, epochs = world.prompts, world.epochs
        rng = np.random.default_rng([self.seed, 1 + place])
        luck, grading, error, latency, cost = rng.standard_normal((5, n, epochs))
        habit = rng.standard_normal(n)
        leaning = np.repeat(rng.standard_normal(-(-n // world.cluster_size)), world.cluster_size)[:n]
        own = 1.0 - world.difficulty - world.leaning - world.habit
        z = _sum_of_parts(
            (world.difficulty, self._difficulty), (world.leaning, leaning), (world.habit, habit), (own, luck)
        )
        common = _sum_of_parts((COMMON_GRADING, self._grading), (1 - COMMON_GRADING, grading))
        length = _sum_of_parts((COMMON_COST, self._length), (1 - COMMON_COST, cost))
        failed = _sum_of_parts((world.outage, self._outage), (1 - world.outage, error)) < ndtri(model.error)
        took = model.latency_ms * np.exp(model.latency_spread * latency)
        late = ~failed & (took > world.timeout_ms)
        scores = score(model, calibrate(model, world.answer_quality(model)), z, common)
        paid = model.cost_usd * np.exp(COST_SPREAD * length - COST_SPREAD**2 / 2.0)
        status = np.where(failed, "error", np.where(late, "timeout", "ok"))
        return pd.DataFrame(
            {
                "prompt_id": np.repeat(np.array(self.prompts, dtype=object), epochs),
                "epoch": np.tile(np.arange(epochs), n),
                "score": np.where(failed | late, 0.0, scores).ravel(),
                "latency_ms": np.minimum(took, world.timeout_ms).ravel(),
                "cost_usd": np.where(failed, 0.0, paid).ravel(),
                "status": status.ravel().astype(object),
            }
        )


def _sum_of_parts(*parts: tuple[float, np.ndarray]) -> np.ndarray:
    """A standard normal value from independent ones with given shares of the variance."""
    total: np.ndarray | float = 0.0
    for share, values in parts:
        total = total + math.sqrt(max(share, 0.0)) * (values if values.ndim == 2 else values[:, None])
    return np.asarray(total)


def replay(sweep: Sweep, chain: Sequence[str]) -> tuple[float, float, float]:
    """Mean score, cost and failure rate of a chain over a whole sweep with one epoch, call by call."""
    n = sweep.world.prompts
    is_open, scores, cost = np.ones(n, dtype=bool), np.zeros(n), np.zeros(n)
    for model in chain:
        table = sweep.table(model)
        cost += np.where(is_open, table["cost_usd"], 0.0)
        answered = is_open & (table["status"] == "ok").to_numpy()
        scores[answered] = table["score"].to_numpy()[answered]
        is_open &= ~answered
    return float(scores.mean()), float(cost.mean()), float(is_open.mean())
