"""The verbs of `llmbench rollout`: how rollouts stand, a watch that stops them, stop and resume by hand."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from llmbench.cli_output import Json, err, out, print_json, print_table
from llmbench.display.wording import count, duration, money, share
from llmbench.errors import ConfigError, LLMBenchError
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.bench.rollout_watch import Claim
    from llmbench.config.model import Config, Rollout

rollout_app = typer.Typer(
    help="Rollouts: how challengers do on a share of calls, and what stops them.", no_args_is_help=True
)
Project = Annotated[Path, typer.Option("--project", help="Folder with configs/ and workspaces/.")]
Log = Annotated[
    list[str] | None, typer.Option(help="Log or glob to load first; the project's own if none. Repeatable.")
]
Store = Annotated[
    Path | None, typer.Option(help="The store; workspaces/telemetry.duckdb of the project if none.")
]
Alpha = Annotated[
    float, typer.Option(help="Chance of ever stopping a challenger that keeps its limits, over both limits.")
]
Together = Annotated[
    float, typer.Option("--together", min=0, help="Seconds in which a routing key's calls count as one.")
]
Settle = Annotated[
    float | None,
    typer.Option(
        min=0, help="Seconds in which every call ends, 0: all have; the files' longest deadline if none."
    ),
]
Name = Annotated[str, typer.Argument(help="Name of the rollout in llm_rollouts.yaml.")]

_CALLS: Final = """
select called_at, is_failure, latency_ms, routing_key, coalesce(call_id, '') as call_id, is_cut
from stg_rollout_calls
where rollout = $name and mode = $mode and arm = 'challenger' and (is_counted or is_cut)
    and len(challengers) > 0 and list_has_all($models, challengers)
    and epoch(started_at) >= $since
"""
_ARMS: Final = "select * from mart_rollouts order by rollout, mode, arm desc"


@dataclass(frozen=True, slots=True)
class _How:
    """How a look judges, see `rollout_watch.judge`; without `settle_s` by the longest deadline."""

    alpha: float
    together_s: float
    settle_s: float | None


@dataclass(frozen=True, slots=True)
class _Standing:
    """How one rollout stands: its entry in the stop file, what is known of its limits, its arms."""

    rollout: Rollout
    entry: Mapping[str, Any]
    claims: tuple[Claim, ...]
    arms: Sequence[Mapping[str, Any]]
    settle_s: float

    @property
    def state(self) -> str:
        """In a word: stopped, ended or running."""
        from llmbench.config.rollouts import is_over

        if self.entry["state"] == "stopped":
            return "stopped"
        return "ended" if is_over(self.rollout, datetime.now(UTC)) else "running"

    def as_dict(self) -> dict[str, Any]:
        """For a machine."""
        rollout = self.rollout
        facts = {"rollout": rollout.name, "mode": rollout.mode, "state": self.state, "share": rollout.share}
        return facts | {
            "since": self.entry.get("since"),
            "by": self.entry.get("by"),
            "reason": self.entry.get("reason"),
            "settle_s": self.settle_s,
            "limits": [claim.as_dict() for claim in self.claims],
            "arms": [dict(arm) for arm in self.arms],
        }


@rollout_app.command("status")
def status(
    log: Log = None,
    store: Store = None,
    alpha: Alpha = 0.05,
    together: Together = 60.0,
    settle: Settle = None,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Show each rollout's arms: calls, failures, latency, cost, and the evidence against its limits."""
    config = _config(project)
    how = _How(alpha, together, settle)
    found = _standings(config, project, log, store, how)
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    head = ["rollout", "arm", "calls", "failed", "p95", "cost", "dropped", "state"]
    print_table(head, [row for one in found for row in _rows(one)])
    for one in found:
        for claim in one.claims:
            out.print(escape(f"{visible(one.rollout.name)}: {claim}"), highlight=False)
        if one.claims and one.settle_s > 0:
            said = (
                f"{visible(one.rollout.name)}: calls begun in the last {one.settle_s:g} s are not judged yet"
            )
            out.print(escape(said), highlight=False)
        if one.state == "stopped":
            since, reason = (one.entry.get(key) or "unknown" for key in ("since", "reason"))
            said = f"{visible(one.rollout.name)} is stopped since {since}: {reason}"
            out.print(escape(visible(said)), highlight=False)
    if not found:
        out.print("llm_rollouts.yaml has no rollout")


@rollout_app.command("watch")
def watch(
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    log: Log = None,
    store: Store = None,
    alpha: Alpha = 0.05,
    together: Together = 60.0,
    settle: Settle = None,
    project: Project = Path(),
    as_json: Json = False,
) -> None:
    """Load new telemetry and stop every rollout that is proved to break a limit, again and again.

    It never lets a rollout run again: that is for `llmbench rollout resume`.
    """
    while True:
        try:
            _look(project, log, store, _How(alpha, together, settle), is_json=as_json)
        except (LLMBenchError, OSError) as error:
            if once:
                raise
            err.print(escape(f"this look failed, the next one is due: {error}"), highlight=False)
        if once:
            return
        time.sleep(every)


def _look(
    project: Path,
    log: Sequence[str] | None,
    store: Path | None,
    how: _How,
    *,
    is_json: bool,
) -> None:
    """Load what is new, stop what is proved to break a limit, and say how all stand."""
    config = _config(project)
    found = _standings(config, project, log, store, how)
    stopped = [one.rollout.name for one in found if _stop_if_broken(config, one, how.alpha)]
    if is_json:
        print_json({"looked_at": [one.as_dict() for one in found], "stopped": stopped})
    else:
        _say(found, stopped)


@rollout_app.command("stop")
def stop(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; the routes' reasons quote it.")],
    project: Project = Path(),
) -> None:
    """Stop a rollout: within a second or so its calls go the usual way."""
    _write(project, name, "stopped", reason)


@rollout_app.command("resume")
def resume(
    name: Name,
    reason: Annotated[str, typer.Option(help="Why, in a sentence.")] = "resumed by hand",
    project: Project = Path(),
) -> None:
    """Let a stopped rollout run again. Its evidence begins anew: earlier calls no longer count."""
    _write(project, name, "running", reason)


def _write(project: Path, name: str, state: Any, reason: str) -> None:
    from llmbench.bench.rollout_stops import write_state
    from llmbench.config.places import near
    from llmbench.config.rollouts import stop_path

    if not reason.strip():
        raise typer.BadParameter("--reason says why, in a sentence; it is empty")
    config = _config(project)
    if name not in config.rollouts:
        known = near(name, config.rollouts)
        raise ConfigError(f"no rollout {visible(name)!r}; {known}", path="llm_rollouts.yaml")
    path = stop_path(config)
    write_state(path, name, state, now=datetime.now(UTC), by=_who(), reason=reason)
    out.print(escape(visible(f"{name}: {state} ({path})")), highlight=False)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id
        return "unknown"


def _config(project: Path) -> Config:
    from llmbench.config import load_config

    return load_config(project / "configs")


def _standings(
    config: Config,
    project: Path,
    logs: Sequence[str] | None,
    store: Path | None,
    how: _How,
) -> list[_Standing]:
    """Load what is new, and say how each rollout of the config stands."""
    from llmbench.analytics.warehouse import open_warehouse
    from llmbench.bench.rollout_stops import NO_ENTRY, entries
    from llmbench.bench.rollout_watch import Seen, judge
    from llmbench.config.rollouts import longest_deadline_s, stop_path

    states = entries(stop_path(config))
    found: list[_Standing] = []
    looked = datetime.now(UTC)  # before the logs are read: what began long enough before is all in them
    with open_warehouse(store=_loaded(config, project, logs, store)) as warehouse:
        arms = warehouse.rows(_ARMS)
        for name, rollout in config.rollouts.items():
            entry = states.get(name, NO_ENTRY)
            models = [config.model_key(model) for model in rollout.challengers]
            asked = {"name": name, "mode": rollout.mode, "models": models, "since": _began(entry)}
            calls = [Seen(*row.values()) for row in warehouse.rows(_CALLS, asked)]
            settle_s = longest_deadline_s(config, rollout) if how.settle_s is None else how.settle_s
            until = looked - timedelta(seconds=settle_s) if settle_s > 0 else None
            claims = judge(rollout, calls, alpha=how.alpha, together_s=how.together_s, until=until)
            own = [arm for arm in arms if (arm["rollout"], arm["mode"]) == (name, rollout.mode)]
            found.append(_Standing(rollout, entry, claims, own, settle_s))
    return found


def _began(entry: Mapping[str, Any]) -> float:
    """From when on calls count, in seconds since 1970: since it was resumed, else from the first one on."""
    try:
        return datetime.fromisoformat(entry["counts_from"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _loaded(config: Config, project: Path, logs: Sequence[str] | None, store: Path | None) -> Path | None:
    """The store with all that the logs hold; None where there is neither log nor store yet."""
    from llmbench.analytics.telemetry_store import DEFAULT_STORE, load_store
    from llmbench.config.environment import read_environment
    from llmbench.jsonl import rotated_parts
    from llmbench.telemetry import DEFAULT_LOG_PATH

    where = store or project / DEFAULT_STORE
    own = project / (read_environment().log_path or config.log_path or DEFAULT_LOG_PATH)
    names = list(logs or [])
    if not names and (own.exists() or rotated_parts(own)):
        names = [str(own)]
    if names:
        load_store(where, names)
    return where if where.exists() else None


def _stop_if_broken(config: Config, one: _Standing, alpha: float) -> bool:
    """Stop a running rollout that is proved to break a limit; whether that was done now."""
    from llmbench.bench.rollout_stops import write_state
    from llmbench.bench.rollout_watch import reason_of
    from llmbench.config.rollouts import stop_path

    reason = reason_of(one.claims)
    if reason is None or one.entry["state"] == "stopped":
        return False
    figures = {"alpha": alpha, "limits": [claim.as_dict() for claim in one.claims]}
    return write_state(
        stop_path(config),
        one.rollout.name,
        "stopped",
        now=datetime.now(UTC),
        by="llmbench rollout watch",
        reason=reason,
        figures=figures,
        known=one.entry,
    )


def _say(found: Sequence[_Standing], stopped: Sequence[str]) -> None:
    """What a look found, a line a rollout; those that were stopped now are said on stderr too."""
    for one in found:
        name = visible(one.rollout.name)
        said = "; ".join(map(str, one.claims)) or "no limits"
        state = "stopped now" if one.rollout.name in stopped else one.state
        out.print(escape(f"{name}: {state}: {said}"), highlight=False)
        if one.rollout.name in stopped:
            err.print(escape(f"{name} was stopped: {said}"), highlight=False)
    if not found:
        out.print("llm_rollouts.yaml has no rollout")


def _rows(one: _Standing) -> list[list[object]]:
    """A row an arm; a rollout without calls has one row of its own."""
    name = visible(one.rollout.name)
    rows: list[list[object]] = [
        [
            name,
            visible(str(arm["arm"])),
            arm["calls"],
            f"{arm['failures']} ({share(arm['failure_rate'])})",
            duration(arm["p95_ms"]),
            money(arm["cost_usd"]),
            arm["dropped"] or "",
            one.state,
        ]
        for arm in one.arms
    ]
    return rows or [[name, "", count(0, "call"), "", "", "", "", one.state]]
