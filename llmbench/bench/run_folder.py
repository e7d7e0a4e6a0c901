"""The folder of one run: where it is, and whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llmbench.bench.plan import Plan
from llmbench.bounded import read_json
from llmbench.errors import SweepError

DEFAULT_REPORTS: Final = Path("reports")
#: The folders that a run writes into, besides its own.
_WRITTEN: Final = ("notebooks", "media", "figures")
#: The run's own lines of the ledger: with them a run folder can be replayed anywhere.
CALLS_FILE: Final = "calls.jsonl"


def refuse_other_run(run_dir: Path, plan: Plan) -> None:
    """Keep the report of one plan from being written over by another's.

    Raises:
        SweepError: the folder holds a run of another plan.
    """
    try:
        held = read_json(run_dir / "plan.json").get("plan_hash")
    except (OSError, ValueError, AttributeError):
        return
    if held != plan.hash:
        raise SweepError(
            f"{run_dir} holds a run of another plan ({str(held)[:8]}, this is {plan.hash[:8]}); "
            "choose another run id, or move that folder away"
        )


def refuse_links(run_dir: Path) -> None:
    """Keep a run from writing out of its folder, which may have come from somewhere else.

    Raises:
        SweepError: a folder in it that is written into is a link to another place.
    """
    for name in _WRITTEN:
        if (run_dir / name).is_symlink():
            raise SweepError(
                f"{run_dir / name} is a link to another place, and a run writes into it; remove the link, or "
                "choose another run id"
            )
