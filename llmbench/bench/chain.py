"""The main job: a plan through the notebook chain, with its progress shown while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmbench.bench.cluster import check_engine, refuse_cluster
from llmbench.bench.ledger import DEFAULT_LEDGER, Ledger
from llmbench.bench.media_client import MediaClient
from llmbench.bench.plan import Plan, checked_run_id
from llmbench.bench.plan_build import make_plan
from llmbench.bench.plan_file import read_plan_file
from llmbench.bench.progress import mark_stopped, read_progress
from llmbench.bench.run_folder import DEFAULT_REPORTS, refuse_links, refuse_other_run
from llmbench.bounded import read_json
from llmbench.config import load_config
from llmbench.config.environment import read_environment
from llmbench.config.model import Config
from llmbench.errors import SweepError
from llmbench.jsonl import read_jsonl
from llmbench.providers import local_models, local_voices
from llmbench.providers.embedded import require_engine
from llmbench.providers.recordings import OfflineHost
from llmbench.routing.client import LLMClient
from llmbench.telemetry import DEFAULT_LOG_PATH

if TYPE_CHECKING:
    from llmbench.bench.notebooks import NotebookRun

NOTEBOOKS: Final = ("01_sweep.ipynb", "03_compare_models.ipynb", "04_recommend_tiers.ipynb")
PROGRESS_FILE: Final = "progress.json"
CHAIN_TIMEOUT_S: Final = 24 * 3600  # most seconds for one notebook of a chain
_POLL_S: Final = 0.3
#: A notebook and its parameters.
Step = tuple[Path, Mapping[str, object]]
Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Project:
    """Where a project keeps its files; every path is below `root`."""

    root: Path = Path()

    @property
    def configs(self) -> Path:
        """The config folder."""
        return self.root / "configs"

    @property
    def datasets(self) -> Path:
        """The folder of datasets."""
        return self.root / "datasets"

    @property
    def notebooks(self) -> Path:
        """The folder of source notebooks."""
        return self.root / "notebooks"

    @property
    def reports(self) -> Path:
        """The parent of run folders."""
        return self.root / DEFAULT_REPORTS

    @property
    def ledger(self) -> Path:
        """The shared ledger."""
        return self.root / DEFAULT_LEDGER


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose on top of the plan file. Empty and None keep the file's own."""

    tasks: tuple[str, ...] = ()
    limit: int | None = None
    seed: int | None = None
    run_id: str | None = None
    replay: Path | None = None
    engine: str = ""


def _plan_path(project: Project, name: str) -> Path:
    return Path(name) if _is_path(name) else project.configs / "sweeps" / f"{name}.yaml"


def find_plan(project: Project, name: str, choice: Choice, client: LLMClient) -> Plan:
    """Load and freeze the plan of that name, or at that path.

    Raises:
        SweepError: there is no such plan, or it cannot be used.
    """
    return make_plan(
        read_plan_file(_plan_path(project, name)),
        client,
        datasets=project.datasets,
        tasks=choice.tasks,
        limit=choice.limit,
        seed=choice.seed,
    )


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def run_plan(project: Project, name: str, plan: Plan, choice: Choice, watch: Watch) -> list[NotebookRun]:
    """Run the notebook chain for a plan: sweep, comparison, recommendation and report.

    Args:
        project: where the files are.
        name: the plan's name or path, as given to `find_plan`.
        plan: the frozen plan.
        choice: the same choice as the plan was made with.
        watch: told of the sweep's progress while it runs, from another thread.

    Raises:
        NotebookError: a notebook did not end with every cell run; its copy is kept.
        SweepError: a notebook or the ledger to replay is missing, the run id cannot be used, or another
            sweep is running.
    """
    # The notebooks' packages take seconds to import, which the notebooks themselves need not wait for.
    from llmbench.bench.notebooks import run_chain

    run_dir, steps = planned_steps(project, name, plan, choice)
    (run_dir / PROGRESS_FILE).unlink(missing_ok=True)
    with watched(run_dir / PROGRESS_FILE, watch):
        return run_chain(steps, run_dir / "notebooks", cwd=project.notebooks, timeout_s=CHAIN_TIMEOUT_S)


def planned_steps(project: Project, name: str, plan: Plan, choice: Choice) -> tuple[Path, list[Step]]:
    """The run folder of a plan and the notebooks to run, with their parameters; nothing is touched yet.

    Raises:
        SweepError: as for `run_plan`.
    """
    missing = [notebook for notebook in NOTEBOOKS if not (project.notebooks / notebook).is_file()]
    if missing:
        raise SweepError(f"{project.notebooks / missing[0]} is missing; run this in the project's folder")
    run_dir = project.reports / checked_run_id(choice.run_id or plan.run_id)
    check_engine(choice.engine, is_replay=choice.replay is not None)
    if plan.modality != "text":
        refuse_cluster(choice.engine)
    if choice.replay is None:  # before anything of a running sweep's folder is touched
        Ledger(project.ledger).refuse_if_busy()
        refuse_other_run(run_dir, plan)
        _require_engines(plan)
    else:
        _require_ledger(choice.replay)
    refuse_links(run_dir)
    root = project.root.absolute()
    shared: dict[str, object] = {"root": str(root)}
    sweep_parameters = shared | {
        "plan": str(Path(name).absolute()) if _is_path(name) else name,  # the kernel runs in another folder
        "tasks": list(choice.tasks),
        "limit": choice.limit,
        "seed": choice.seed,
        "run_id": run_dir.name,
        "replay": "" if choice.replay is None else str(choice.replay.absolute()),
        "engine": choice.engine,
    }
    run_parameters = shared | {"run_id": run_dir.name}
    steps: list[Step] = [(project.notebooks / NOTEBOOKS[0], sweep_parameters)]
    steps += [(project.notebooks / notebook, run_parameters) for notebook in NOTEBOOKS[1:]]
    return run_dir, steps


def _require_ledger(path: Path) -> None:
    if not path.is_file():
        raise SweepError(f"there is no recorded ledger {path} to replay")


def _require_engines(plan: Plan) -> None:
    """Say what is missing before a kernel starts: a notebook's error is harder to read."""
    for facts in plan.models.values():
        if facts["is_local"]:
            require_engine(str(facts["model_id"]))


@contextmanager
def watched(path: Path, watch: Watch) -> Iterator[None]:
    """Read the progress file in a thread until the block ends, and once more then.

    A sweep that still says `running` in the end was ended from here (its kernel cannot say so once it is
    killed), and its file then says `stopped`.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_POLL_S):
            facts = read_progress(path)
            if facts is not None:
                watch(facts)

    thread = threading.Thread(target=look, name="llmbench-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        mark_stopped(path, "its notebook was ended before it")
        ended.set()
        thread.join()
        facts = read_progress(path)
        if facts is not None:
            watch(facts)


def open_client(project: Project, plan: str | None = None, *, replay: Path | None = None) -> LLMClient:
    """The router of a project, for the kind of answers that a plan is about.

    In the replay of a recorded ledger nothing can be sent, local models need not be installed, and exactly
    the models that the ledger holds can be "called": the tasks are routed as where it was recorded.

    Args:
        project: where the files are.
        plan: the plan's name or path, as for `find_plan`; text is asked for without one.
        replay: the recorded ledger.

    Raises:
        ConfigError: the config folder cannot be used.
        SweepError: the ledger to replay or the plan is missing, or the plan is of several kinds.
    """
    config = load_config(project.configs)
    file = None if plan is None else read_plan_file(_plan_path(project, plan))
    kind = "text" if file is None else file.modality(config)
    options = partial(_client_options, project, config, replay)
    if file is None or kind == "text":
        return LLMClient(config, **options(config.endpoints, config.models))
    judges = file.judges()
    judge = LLMClient(config, **options(config.endpoints, config.models)) if judges else None
    media = config.media.get(kind)
    own = ({}, {}) if media is None else (media.endpoints, media.models)
    return MediaClient(config, kind, judge=judge, judges=judges, **options(*own))


def _client_options(
    project: Project, config: Config, replay: Path | None, endpoints: Iterable[str], models: Iterable[str]
) -> dict[str, Any]:
    """How a client of these providers and models logs, and whom it calls: nobody in a replay."""
    if replay is None:
        # A path of the project, not of the folder that this runs in: a notebook runs in its own.
        log_path = project.root / (read_environment().log_path or config.log_path or DEFAULT_LOG_PATH)
        return {"log_path": log_path}
    names = (*local_models.MODELS, *local_voices.VOICES)
    versions = {name: local_models.model_version(name) for name in names}
    recorded = _recorded_models(replay, models)
    hosts = {name: OfflineHost(versions, models=recorded) for name in endpoints}
    return {"hosts": hosts, "variables": {"LLM_ROUTER_LOG_DISABLE": "1"}}


def refuse_shared_media(project: Project, plan: str) -> None:
    """Refuse a plan of pictures or narrations for a ledger that is fetched from a store: their files are not.

    Raises:
        SweepError: it is one, or there is no such plan.
        ConfigError: the config folder cannot be used.
    """
    kind = read_plan_file(_plan_path(project, plan)).modality(load_config(project.configs))
    if kind != "text":
        raise SweepError(
            f"plan {plan!r} makes answers of the kind {kind}, whose files lie beside the ledger on this "
            "machine and are not kept in a store; leave out --ledger-store"
        )


def _recorded_models(ledger: Path, keys: Iterable[str]) -> frozenset[str]:
    """The models that a ledger holds calls of. A cell's name is task/sample/model/repeat.

    A model may have been asked with parameters of its own: `model[temperature=0.7]`.
    """
    _require_ledger(ledger)
    records = (line.record for line in read_jsonl(ledger))
    named = {str(record.get("cell")).rpartition("/")[0] for record in records if record is not None}
    cells = {name.rpartition("[")[0] if name.endswith("]") else name for name in named} | named
    return frozenset(key for key in keys if any(cell.endswith(f"/{key}") for cell in cells))


def summary(project: Project, plan: Plan, choice: Choice) -> dict[str, Any]:
    """What a finished chain has to say: a sentence a task, the counts, and where the report is.

    Raises:
        SweepError: the notebooks wrote no recommendation.
    """
    run_dir = project.reports / (choice.run_id or plan.run_id)
    try:
        recommendation = read_json(run_dir / "recommendation.json")
    except (OSError, ValueError) as error:
        raise SweepError(f"{run_dir} has no readable recommendation.json: {error}") from error
    progress = read_progress(run_dir / PROGRESS_FILE) or {}
    called = int(progress.get("done", 0)) + int(progress.get("pending", 0))
    warm_ups = int(progress.get("warm_ups", 0))
    beside = f" (and {warm_ups} to warm the local servers up)" if warm_ups else ""
    return {
        "run_id": run_dir.name,
        "report": str(run_dir / "report.html"),
        "calls": called,
        "cached": int(progress.get("cached", 0)),
        "warm_ups": warm_ups,
        "counts": f"{called} calls made now{beside}, {progress.get('cached', 0)} answers from the ledger",
        "notices": [notice for notice in progress.get("notices", ()) if notice not in plan.notices],
        "sentences": [task["sentence"] for task in recommendation["tasks"]],
    }


@dataclass(frozen=True, slots=True)
class Sources:
    """Files for the warehouse."""

    run_dirs: tuple[Path, ...]
    ledgers: tuple[Path, ...]


def warehouse_sources(project: Project, runs: Sequence[str] = ()) -> Sources:
    """The files of runs behind `llmbench query`: the runs named, or all; the ledger.

    Raises:
        SweepError: a named run does not exist.
    """
    run_dirs = [Path(run) if Path(run).is_dir() else project.reports / run for run in runs]
    if not run_dirs and project.reports.is_dir():
        run_dirs = sorted(path.parent for path in project.reports.glob("*/results.jsonl"))
    for path in run_dirs:
        if not path.exists():
            raise SweepError(f"{path} does not exist; give a run id of {project.reports}/ or a path")
    return Sources(
        run_dirs=tuple(run_dirs),
        ledgers=tuple(path for path in (project.ledger,) if path.exists()),
    )
