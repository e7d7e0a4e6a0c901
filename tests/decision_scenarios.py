"""The scenarios on which the promises of `decide` are measured; the margin is 5 points in all of them.

A gap is counted from the boundary: an equal candidate has a gap of 5 points, one 5 points better of 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tests.decision_sweeps import SimulatedModel, Truth, World, latency_with_timeouts

MARGIN = 0.05
#: At this share two 0/1 models of quality .8 disagree on one prompt in five.
FIFTH_DISAGREE = 0.606
REFERENCE_COST = 0.030
TIMEOUT_MS = 10_000.0


@dataclass(frozen=True)
class Scenario:
    """A world and how `decide` is asked about it.

    Attributes:
        kind: null (no candidate may be promoted) or alternative.
        targets: numbers of the targets that the scenario is held against.
        options: further arguments of `decide`.
        tasks: how many such tasks stand in one report.
    """

    name: str
    kind: str
    world: World
    targets: tuple[int, ...]
    options: dict[str, Any]
    tasks: int = 1

    @cached_property
    def truths(self) -> dict[str, Truth]:
        """The exact truth about every model, by name."""
        return {model.name: self.world.truth(model.name) for model in self.world.models}

    @cached_property
    def acceptable(self) -> list[str]:
        """The candidates that may be promoted, cheapest first."""
        good = [name for name in self.world.candidates if self._is_acceptable(name)]
        return sorted(good, key=lambda name: self.truths[name].cost_usd)

    @property
    def right(self) -> str:
        """The cheapest candidate that may be promoted, or the reference."""
        return self.acceptable[0] if self.acceptable else self.world.reference

    def _is_acceptable(self, name: str) -> bool:
        truth = self.truths[name]
        slo = self.options.get("slo")
        is_in_time = slo is None or (truth.slo_share or 0.0) > slo[1] + 1e-9
        return truth.delta > -MARGIN + 1e-9 and is_in_time


def models(reference: float, deltas: Sequence[float], **options: Any) -> tuple[SimulatedModel, ...]:
    """A reference and candidates that differ from it by `deltas`, 60 to 30 times cheaper, cheapest first."""
    level = options.pop("level", 1.0)
    today = SimulatedModel("big", reference, REFERENCE_COST, level=reference if level < 1 else 1.0, **options)
    step = 0.0005 / max(len(deltas) - 1, 1)
    others = [
        SimulatedModel(f"small{k + 1}", reference + delta, 0.0005 + step * k, level=level, **options)
        for k, delta in enumerate(deltas)
    ]
    return (today, *others)


def _null(name: str, reference: float, *, prompts: int = 400, count: int = 1, **given: Any) -> Scenario:
    targets = given.pop("targets", (1,))
    of_models = {key: given.pop(key) for key in ("scale", "level") if key in given}
    world = World(models(reference, [-MARGIN] * count, **of_models), prompts, **given)
    return Scenario(name, "null", world, targets, {})


def _alternative(
    name: str, reference: float, deltas: Sequence[float], targets: tuple[int, ...], **given: Any
) -> Scenario:
    options = given.pop("options", {})
    of_models = {key: given.pop(key) for key in ("scale", "level") if key in given}
    world = World(models(reference, deltas, **of_models), given.pop("prompts", 1000), **given)
    return Scenario(name, "alternative", world, targets, options)


def _failures(name: str, kind: str, loss: float, targets: tuple[int, ...], prompts: int) -> Scenario:
    """Answers of the candidate are as good as the reference's or better: errors make up the loss."""
    big = SimulatedModel("big", 0.85 * 0.98, REFERENCE_COST, error=0.02)
    errors = 0.02 + loss / 0.85 if kind == "null" else 0.05
    small = SimulatedModel("small1", big.quality - loss, 0.0006, error=errors)
    return Scenario(name, kind, World((big, small), prompts, outage=0.4), targets, {})


def _timeouts() -> Scenario:
    """As with errors: one call in seventeen runs into the time limit, and nothing else is lost."""
    big = SimulatedModel("big", 0.85, REFERENCE_COST)
    slow = latency_with_timeouts(MARGIN / 0.85, TIMEOUT_MS)
    small = SimulatedModel("small1", 0.80, 0.0006, latency_ms=slow)
    return Scenario("null_timeouts", "null", World((big, small), 600, timeout_ms=TIMEOUT_MS), (1, 8), {})


def _slo(name: str, shares: Sequence[float], deltas: Sequence[float], targets: tuple[int, ...]) -> Scenario:
    """Candidates of which a given share answers within 5 s; the service level asks for 90 %."""
    today, *others = models(0.80, deltas)
    late = [
        SimulatedModel(m.name, m.quality, m.cost_usd, latency_ms=latency_with_timeouts(1 - share, 5_000.0))
        for m, share in zip(others, shares, strict=True)
    ]
    kind = "null" if targets == (1,) else "alternative"
    return Scenario(name, kind, World((today, *late), 1000), targets, {"slo": (5_000.0, 0.90)})


NULLS = (
    _null("null_binary", 0.80, targets=(1, 6)),
    _null("null_weak", 0.80, difficulty=0.2),
    _null("null_high", 0.99, targets=(1, 6)),
    _null("null_rare_loss_400", 1.0),
    _null("null_rare_loss_60", 1.0, prompts=60),
    _null("null_rare_loss_20", 1.0, prompts=20, targets=(1, 6)),
    _null("null_n20", 0.80, prompts=20, targets=(1, 6)),
    _null("null_n1000", 0.80, prompts=1000),
    _null("null_graded", 0.70, scale="graded"),
    _null("null_five", 0.70, scale="five"),
    _null("null_skewed_400", 0.90, scale="skewed", level=0.92, targets=(1, 6)),
    _null("null_skewed_60", 0.90, scale="skewed", level=0.92, prompts=60),
    _null("null_clusters", 0.75, cluster_size=8, difficulty=0.4, leaning=0.4, targets=(1, 8)),
    _null("null_few_clusters", 0.75, prompts=300, cluster_size=25, difficulty=0.4, leaning=0.4),
    _failures("null_failures", "null", MARGIN, (1, 8), 600),
    _timeouts(),
    _null("null_epochs", 0.75, prompts=150, epochs=6, difficulty=0.2, habit=0.7, targets=(1, 8)),
    _null("null_k4", 0.80, count=4),
    _null("null_k6", 0.80, count=6),
    _null("null_k6_high", 0.998, count=6, targets=(1, 8)),
    Scenario("null_k4_below", "null", World(models(0.80, [-0.06, -0.08, -0.10, -0.12]), 400), (1,), {}),
    _slo("null_slo", [0.90], [0.10], (1,)),
)

ALTERNATIVES = (
    _alternative("alt_equal", 0.80, [0.0], (5, 6), difficulty=FIFTH_DISAGREE),
    _alternative("alt_equal_high", 0.98, [0.0], (), prompts=400),
    _alternative("alt_gap10", 0.80, [0.05], (3, 4)),
    _alternative("alt_gap15", 0.75, [0.10], (3, 4)),
    _alternative("alt_below10", 0.80, [-0.15], (3, 4)),
    _alternative("alt_below15", 0.80, [-0.20], (3, 4)),
    _alternative("alt_graded_equal", 0.70, [0.0], (), scale="graded"),
    _alternative("alt_graded_gap10", 0.70, [0.05], (4,), scale="graded"),
    _alternative("alt_five_equal", 0.70, [0.0], (), scale="five"),
    _alternative("alt_clusters", 0.75, [0.05], (), cluster_size=5, difficulty=0.4, leaning=0.1),
    _failures("alt_failures", "alternative", -0.05, (3, 4), 1000),
    _alternative("mix_k4_one", 0.80, [-0.20, -0.15, 0.05, -0.25], (3, 4)),
    _alternative("mix_k4_several", 0.80, [-0.15, 0.05, 0.08, 0.10], (3, 4)),
    _alternative("mix_k4_cheapest", 0.80, [0.05, -0.15, -0.20, -0.25], (3, 4)),
    _alternative("mix_k4_near", 0.80, [-0.20, -0.15, -0.03, -0.20], ()),
    # The good ones are not neighbours in cost: a pilot of 10 prompts cannot order costs 14 % apart.
    _alternative("mix_k6_several", 0.80, [-0.25, -0.15, 0.05, -0.20, 0.05, 0.10], (3, 4)),
    _alternative("mix_k6_near", 0.80, [-0.20, -0.03, 0.05, 0.05, 0.10, -0.15], ()),
    _slo("alt_slo", [0.75, 0.99], [0.10, 0.10], (4,)),
)

#: Ten tasks in one report, every candidate at the boundary.
REPORT_TASKS = tuple(
    Scenario(s.name, s.kind, s.world, (2,), {"family": "report", "tasks": 10}, tasks=10)
    for s in NULLS
    if s.name in {"null_binary", "null_high", "null_rare_loss_400", "null_n1000", "null_graded"}
    or s.name in {"null_five", "null_skewed_400", "null_failures", "null_k4", "null_k6_high"}
)

SCENARIOS = {scenario.name: scenario for scenario in (*NULLS, *ALTERNATIVES)}

CHAINS = World(
    (
        SimulatedModel("big", 0.90, REFERENCE_COST, error=0.01),
        SimulatedModel("small", 0.78, 0.0006, error=0.08, latency_ms=latency_with_timeouts(0.03, TIMEOUT_MS)),
        SimulatedModel("middle", 0.82, 0.004, error=0.05),
    ),
    100_000,
    outage=0.6,
    timeout_ms=TIMEOUT_MS,
)
