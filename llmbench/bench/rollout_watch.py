"""When a rollout is stopped: its limits against evidence that may be looked at as often as one likes.

Two claims are tested of the challenger's calls, by the bets of `evidence`, each valid at every look:

    "more than `failure_rate` of the calls fail"           x = 1 - limit for a failure, else -limit
    "more than 5 % of the calls take longer than `p95_ms`"  x = 0.95 for a slow call, else -0.05

A model may do well for weeks and then break. So half of alpha goes to the bet on all units, and half to bets
that begin anew at later units, each for a part of it.

The chance that a rollout which keeps both limits is ever stopped is alpha at most: the claims share it
(Bonferroni). That holds for units whose outcomes nothing has sorted, so which calls are units, and their
order, is fixed by when they began and never by how they ended:

* Units stand in the order in which they began. A look leaves out what began too lately to have ended surely
  (`until`): of calls that are on their way together, quick failures end before the answers.
* The calls of one routing key are alike, and a burst of them says little more than one. Time is cut into
  windows of `TOGETHER_S`; in each, a key's first call to begin is a unit. Not the first to end, which would
  be a quick one, and not a mean of the window, in which a slow call leaves less room for others.
* A beginning is computed as end - latency, which is a little wrong, by an amount that may hang together with
  the outcome. What began within `_SAME_S` is one moment, and within it the call's id decides.

What a key does in different windows counts as separate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np

from llmbench.bench.evidence import Evidence, Floats
from llmbench.config.model import Rollout
from llmbench.errors import SweepError

ALPHA: Final = 0.05
#: The share of calls that may be slower than the limit of the 95th percentile.
SLOW: Final = 0.05
#: Seconds of a window in which the calls of one routing key are one unit.
TOGETHER_S: Final = 60.0
#: Seconds in which calls began together: more than their beginnings are wrong by, less than a call takes.
_SAME_S: Final = 0.02
#: Units that the bets plan for, one after the other: a rollout has no end that is known before.
_PLANS: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
#: Tests that begin later: one at every so many units, over so many units, read in so many at a time.
_STEP: Final = 25
_SPAN: Final = 400
_ROWS: Final = 50
Measure = Literal["failure_rate", "p95_ms"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of the challenger's arm: when it ended, whether it failed, and how long the caller waited.

    One that `is_cut` was cancelled: it would have taken longer than it did, and may have failed or not.
    """

    at: datetime
    is_failure: bool
    latency_ms: float | None = None
    routing_key: str | None = None
    call_id: str = ""
    is_cut: bool = False

    @property
    def moment(self) -> int:
        """When it began, in units of `_SAME_S` since 1970."""
        return round((self.at.timestamp() - (self.latency_ms or 0.0) / 1000.0) / _SAME_S)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of one limit.

    Attributes:
        measure: the limit's key in the config.
        limit: as written there.
        units: calls that were bet on.
        broken: of these, calls that failed or were slower than the limit.
        share: broken / units, None without a unit.
        allowed: the share that the limit allows.
        p95_ms: the units' 95th percentile in ms, for the limit of that name.
        evidence: the largest wealth of the bets so far, each weighted by its part of alpha; 1 at least.
        needed: the wealth that proves the limit broken.
    """

    measure: Measure
    limit: float
    units: int
    broken: int
    share: float | None
    allowed: float
    p95_ms: float | None
    evidence: float
    needed: float

    @property
    def is_broken(self) -> bool:
        """Whether the limit is proved to be broken."""
        return self.evidence >= self.needed

    def as_dict(self) -> dict[str, Any]:
        """The figures for a file or a machine."""
        return asdict(self)

    def __str__(self) -> str:
        what = "failed" if self.measure == "failure_rate" else f"took longer than {self.limit:g} ms"
        seen = f"{self.broken} of {self.units} calls {what}"
        return f"{seen} (allowed {100 * self.allowed:g} %; evidence {self.evidence:.3g} of {self.needed:g})"


def spaced(
    calls: Iterable[Seen], together_s: float = TOGETHER_S, until: datetime | None = None
) -> list[Seen]:
    """The calls that count as units, as they began: of a key's calls in a window the first.

    Args:
        calls: in any order.
        together_s: seconds of a window; 0 makes every call a unit.
        until: calls that began then or later are left out; None leaves out none.
    """
    end = None if until is None else Seen(until, is_failure=False).moment
    taken: set[tuple[str, int]] = set()
    units: list[Seen] = []
    for call in sorted(calls, key=lambda call: (call.moment, call.call_id)):
        moment = call.moment
        if end is not None and moment >= end:
            break
        if call.routing_key is not None and together_s > 0.0:
            place = call.routing_key, int(moment * _SAME_S // together_s)
            if place in taken:
                continue
            taken.add(place)
        units.append(call)
    return units


def judge(
    rollout: Rollout,
    calls: Sequence[Seen],
    *,
    alpha: float = ALPHA,
    together_s: float = TOGETHER_S,
    until: datetime | None = None,
) -> tuple[Claim, ...]:
    """What the calls of a challenger say of each limit of its rollout; nothing where it has no limits.

    Args:
        rollout: its limits.
        calls: every call of the challenger's arm since the rollout began to run.
        alpha: chance of stopping a challenger that keeps its limits, over all looks and both limits.
        together_s: seconds of a window in which the calls of one routing key are one unit.
        until: when a call must have begun before, so that it has surely ended by now; None takes all calls.

    Raises:
        SweepError: alpha is outside (0, 1).
    """
    limits = rollout.max_failure_rate, rollout.max_p95_ms
    count = sum(limit is not None for limit in limits)
    if not 0.0 < alpha < 1.0:
        raise SweepError(f"alpha is {alpha}; give a chance between 0 and 1, 0.05 is usual")
    if count == 0:
        return ()
    claims: list[Claim] = []
    if limits[0] is not None:
        units = spaced((call for call in calls if not call.is_cut), together_s, until)
        broken = [call.is_failure for call in units]
        claims.append(_claim("failure_rate", limits[0], limits[0], broken, alpha / count))
    if limits[1] is not None:
        units = spaced((call for call in calls if _is_timed(call, limits[1])), together_s, until)
        times = [call.latency_ms or 0.0 for call in units]
        slow = [time > limits[1] for time in times]
        p95_ms = float(np.quantile(times, 0.95)) if times else None
        claims.append(_claim("p95_ms", limits[1], SLOW, slow, alpha / count, p95_ms))
    return tuple(claims)


def _is_timed(call: Seen, limit_ms: float) -> bool:
    """Whether a call's latency is known well enough: of one that was cut only that it broke the limit."""
    return call.latency_ms is not None and (not call.is_cut or call.latency_ms > limit_ms)


def _claim(
    measure: Measure,
    limit: float,
    allowed: float,
    broken: Sequence[bool],
    alpha: float,
    p95_ms: float | None = None,
) -> Claim:
    xs = np.asarray(broken, dtype=np.float64) - allowed
    count = sum(broken)
    return Claim(
        measure=measure,
        limit=limit,
        units=len(broken),
        broken=count,
        share=count / len(broken) if broken else None,
        allowed=allowed,
        p95_ms=p95_ms,
        evidence=max(1.0, _from_the_start(xs, allowed, alpha), _from_later(xs, allowed, alpha)),
        needed=1.0 / alpha,
    )


def _from_the_start(xs: Floats, allowed: float, alpha: float) -> float:
    """The evidence of all units, at half of alpha."""
    evidence = Evidence(allowed, alpha=alpha / 2.0, budgets=_PLANS)
    evidence.update(xs)
    return evidence.value / 2.0


def _from_later(xs: Floats, allowed: float, alpha: float) -> float:
    """The best evidence of the tests that begin later, at the other half of alpha.

    Test j = 1, 2, ... sees `_SPAN` units from j * `_STEP` on and has the part 1 / (2 j (j + 1)) of alpha. The
    parts add up to a half, and a union bound over all tests holds. A unit that is not there yet is a bet of
    nothing.
    """
    starts = np.arange(_STEP, len(xs), _STEP)
    if not len(starts):
        return 0.0
    padded = np.concatenate([xs, np.zeros(_SPAN)])
    evidence = Evidence(np.full(len(starts), allowed), alpha=alpha / 2.0, budgets=[_SPAN])
    for at in range(0, _SPAN, _ROWS):
        evidence.update(padded[starts[None, :] + np.arange(at, at + _ROWS)[:, None]])
    places = np.arange(1, len(starts) + 1, dtype=np.float64)
    return float((evidence.best / (2.0 * places * (places + 1.0))).max())


def reason_of(claims: Sequence[Claim]) -> str | None:
    """Why a rollout is stopped, in a sentence; None while no limit is proved to be broken."""
    broken = [str(claim) for claim in claims if claim.is_broken]
    return "; ".join(broken) or None
