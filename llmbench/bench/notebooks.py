"""Run notebooks with checked parameters: source in, executed copy out, never half-done under the final name.

papermill 2.7 executes; this module holds what it leaves open. It only logs an unknown parameter, marks every
cell of a killed kernel as completed, keeps absolute paths, changes the whole process's folder for `cwd`, and
races for TCP ports. Here parameters are checked before a kernel starts, saved bytes depend on what the cells
print and not on the clock, and the kernel is this interpreter over IPC sockets, ended whatever happens.

What lies on disk: `x.ipynb` ran to its end; `x.failed.ipynb` is the copy of a run that did not (it holds the
error); `x.partial.ipynb` is in progress or was interrupted. Each carries `metadata.llmbench.status`.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from llmbench.bench.notebook_kernel import Execution, short_folder
from llmbench.bench.notebook_parameters import checked_notebook, secret_values, texts
from llmbench.errors import NotebookError

Status = Literal["ok", "failed", "interrupted"]
_MARKER: Final = "papermill-error-cell-tag"
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "application/pdf"})


@dataclass(frozen=True, slots=True)
class NotebookRun:
    """One notebook that ran to its end.

    Attributes:
        source: the notebook that was run; it is never written to.
        output: the executed copy.
        parameters: the values that were injected.
        duration_s: wall seconds, kernel start and end included.
        cell_durations_s: wall seconds of each cell of `output`, in order (about 0 for text cells).
    """

    source: Path
    output: Path
    parameters: Mapping[str, object]
    duration_s: float
    cell_durations_s: tuple[float, ...]


def run_notebook(
    source: Path,
    output: Path,
    parameters: Mapping[str, object],
    *,
    cwd: Path | None = None,
    timeout_s: float = 3600,
    cell_timeout_s: float | None = None,
    stop: Future[None] | None = None,
) -> NotebookRun:
    """Run `source` with `parameters` in a fresh kernel of this interpreter and save the executed copy.

    Several threads may run notebooks at once, to different outputs. A file already at `output` stays as it
    is unless the run ends well.

    Args:
        source: a Python notebook (format 4) with a cell tagged `parameters`.
        output: path of the executed copy, ending in .ipynb; its folder is made.
        parameters: values for names that the tagged cell assigns; plain JSON values that fit its annotation,
            or else the type of its default.
        cwd: the kernel's folder; this process's own when None.
        timeout_s: most seconds for the whole run.
        cell_timeout_s: most seconds for one cell; only `timeout_s` holds when None.
        stop: ends the run when it is done, as Ctrl-C does: for threads, which Ctrl-C does not reach.

    Raises:
        NotebookError: the notebook or a parameter is wrong (no kernel was started), or the run did not end
            with every cell run; the text then names the cell, the error and the kept copy.
        KeyboardInterrupt: raised after the kernel is ended and the copy is stamped `interrupted`.
    """
    nb, values = checked_notebook(source, output, parameters)
    if cwd and not cwd.is_dir():
        raise NotebookError(f"{source.name}: the folder to run in, {cwd}, does not exist; make it first")
    if stop is not None and stop.done():
        raise KeyboardInterrupt
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial.ipynb")
    partial.unlink(missing_ok=True)  # papermill would write through a link of this name
    started = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="llmb-", dir=short_folder(), ignore_cleanup_errors=True
    ) as folder:
        run = Execution(Path(folder), nb)
        copy = _Copy(source.name, output, _scrub_table(values, cwd or Path.cwd(), Path(folder)))
        options = {
            "resources": {"metadata": {"path": str(cwd.absolute()) if cwd else None}},
            "timeout_func": lambda _cell: cell_timeout_s,
        }
        try:
            error = run.execute(partial, values, timeout_s=timeout_s, stop=stop, **options)
        except BaseException:
            run.stop()
            copy.save(run, "interrupted", partial)
            raise
        problem = _problem(error, run, timeout_s, cell_timeout_s)
        if problem:
            problem = copy.scrubbed(problem)
            failed = output.with_suffix(".failed.ipynb")
            copy.save(run, "failed", partial, problem)
            partial.replace(failed)
            raise NotebookError(f"{source.name}: {problem}; the copy is {failed}") from error
        times = tuple(float(cell.metadata.papermill.duration or 0) for cell in run.notebook.cells)
        copy.save(run, "ok", partial)
    partial.replace(output)
    output.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    return NotebookRun(source, output, values, time.monotonic() - started, times)


def run_chain(
    steps: Sequence[tuple[Path, Mapping[str, object]]],
    out_dir: Path,
    *,
    on_step: Callable[[int, int, NotebookRun], None] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 3600,
    cell_timeout_s: float | None = None,
    stop: Future[None] | None = None,
) -> list[NotebookRun]:
    """Run notebooks one after the other into `out_dir`, under their own names; stop at the first that fails.

    Every step's notebook and parameters are checked before the first kernel starts.

    Args:
        steps: (notebook, parameters) in running order.
        out_dir: folder of the executed copies.
        on_step: called after each step with its number from 1, the number of steps, and its run.
        cwd: as for `run_notebook`, as are `timeout_s` and `cell_timeout_s` (of one notebook, not the chain).
        timeout_s: most seconds for one notebook.
        cell_timeout_s: most seconds for one cell.
        stop: ends the chain when it is done, as Ctrl-C does.

    Raises:
        NotebookError: as for `run_notebook`; also when two steps would write the same copy.
    """
    check_chain(steps, out_dir)
    runs: list[NotebookRun] = []
    for number, (source, parameters) in enumerate(steps, start=1):
        output = out_dir / source.name
        options = {"cwd": cwd, "timeout_s": timeout_s, "cell_timeout_s": cell_timeout_s, "stop": stop}
        runs.append(run_notebook(source, output, parameters, **options))  # type: ignore[arg-type]
        if on_step:
            on_step(number, len(steps), runs[-1])
    return runs


def check_chain(steps: Sequence[tuple[Path, Mapping[str, object]]], out_dir: Path) -> None:
    """Check the notebooks and parameters of a chain, without a kernel.

    Raises:
        NotebookError: one is wrong, or two steps would write the same copy.
    """
    names: set[str] = set()
    for source, parameters in steps:
        if source.name in names:
            raise NotebookError(
                f"{source.name}: two steps would write {out_dir / source.name}; rename one notebook"
            )
        names.add(source.name)
        checked_notebook(source, out_dir / source.name, parameters)


def _problem(
    error: BaseException | None, run: Execution, timeout_s: float, cell_timeout_s: float | None
) -> str | None:
    """Say in one line why a run is not good, or None when every code cell ran."""
    if error is None:
        unrun = [index for index, cell in enumerate(_without_markers(run.notebook)) if _never_run(cell)]
        return f"{_place(run.notebook, unrun[0])} was never run" if unrun else None
    where = "the kernel's start" if run.cell is None else _place(run.notebook, run.cell)
    if run.timed_out:
        return f"timeout_s={timeout_s:g} was over at {where}; give it more time or less to do"
    if isinstance(error, PapermillExecutionError):
        return f"{where} raised {error.ename}: {_line(error.evalue)}"
    if isinstance(error, CellTimeoutError):
        return f"{where} ran longer than cell_timeout_s={cell_timeout_s or timeout_s:g}"
    if isinstance(error, DeadKernelError):
        said = run.last_words() or "it said nothing"
        return f"the kernel died at {where} (killed, out of memory, or ended by the cell): {said}"
    return f"{type(error).__name__} at {where}: {_line(str(error))}"


def _line(text: str) -> str:
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "no message")


def _place(notebook: Any, index: int) -> str:  # nbformat's nodes are untyped
    cells = _without_markers(notebook)
    count = cells[index].get("execution_count")
    return f"cell {index + 1} of {len(cells)}" + (f" (In [{count}])" if count else "")


def _without_markers(notebook: Any) -> list[Any]:
    """The cells less the two that papermill puts in to point at an error; they would shift every number."""
    return [cell for cell in notebook.cells if _MARKER not in cell.metadata.get("tags", [])]


def _never_run(cell: Any) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None)


def _scrub_table(values: Mapping[str, Any], cwd: Path, folder: Path) -> list[tuple[re.Pattern[str], str]]:
    """What must not be read in a saved copy, longest first: this machine's paths and the secrets it holds."""
    paths = {text: Path(text).name for text in texts(values) if Path(text).is_absolute()}
    paths |= {str(Path.home()): "~", sys.base_prefix: "<python>", sys.prefix: "<python>"}
    paths |= {str(folder): "<kernel>", str(cwd.absolute()): ".", str(cwd.resolve()): "."}
    table = [(re.compile(r"[^\s\"']*/ipykernel_\d+/\d+\.py"), "<cell>")]  # the kernel's pid is in that path
    table += [
        (re.compile(rf"(?<![\w.<-]){re.escape(path)}(?![\w-]|\.\w)"), paths[path])
        for path in sorted(paths, key=len, reverse=True)
        if len(Path(path).parts) > 1
    ]
    secrets = sorted(secret_values().items(), key=lambda item: -len(item[0]))
    return table + [(re.compile(re.escape(value)), f"<{name}>") for value, name in secrets if len(value) >= 8]


@dataclass(frozen=True, slots=True)
class _Copy:
    """How an executed copy is written: the same bytes for the same outputs, and nothing of this machine."""

    source: str
    output: Path
    table: Sequence[tuple[re.Pattern[str], str]]

    def scrubbed(self, value: Any) -> Any:  # a JSON value of any kind
        """Replace every word of the table in every text of a JSON value; pictures are left as they are."""
        if isinstance(value, str):
            for pattern, instead in self.table:
                value = pattern.sub(instead.replace("\\", r"\\"), value)
            return value
        if isinstance(value, list):
            return [self.scrubbed(inner) for inner in value]
        if isinstance(value, Mapping):
            return {key: inner if key in _PICTURES else self.scrubbed(inner) for key, inner in value.items()}
        return value

    def save(self, run: Execution, status: Status, path: Path, problem: str | None = None) -> None:
        """Stamp the notebook with its status, make it steady, and write it."""
        nb = run.notebook
        nb.cells = _without_markers(nb)
        for index, cell in enumerate(nb.cells):
            state = cell.metadata.setdefault("papermill", {})
            if status != "ok":  # papermill says `completed` of cells that a dead kernel never ran
                state["status"] = _state(index, run.cell, status)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.id = "injected-parameters"
                cell.source = self.scrubbed(cell.source)
            if cell.cell_type == "code":
                outputs = self.scrubbed(_steady(cell.outputs))
                cell.outputs = nbformat.from_dict(outputs)  # type: ignore[no-untyped-call]
            _drop_times(state)
        about = nb.metadata.setdefault("papermill", {})
        _drop_times(about)
        about.update(input_path=self.source, output_path=self.output.name)
        about["parameters"] = self.scrubbed(about.get("parameters", {}))
        if status != "ok":
            about["exception"] = True
        nb.metadata["llmbench"] = {"status": status} | ({"error": problem} if problem else {})
        text: str = nbformat.writes(nb)  # type: ignore[no-untyped-call]
        path.write_text(text + "\n", encoding="utf-8")


def _state(index: int, reached: int | None, status: Status) -> str:
    """The word papermill uses for a cell of a run that did not end well."""
    if reached is None or index > reached:
        return "pending"
    return "completed" if index < reached else str(status)


def _drop_times(state: dict[str, Any]) -> None:
    for key in ("start_time", "end_time", "duration"):
        state.pop(key, None)


def _steady(outputs: Sequence[Any]) -> list[Any]:
    """Within each run of stream outputs put stdout before stderr: their order is the clock's choice."""
    steady: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if output.output_type == "stream":
            if output.name in streams:
                streams[output.name].text += output.text
            else:
                streams[output.name] = output
            continue
        steady += [streams[name] for name in sorted(streams, reverse=True)]
        streams = {}
        steady.append(output)
    return steady + [streams[name] for name in sorted(streams, reverse=True)]
