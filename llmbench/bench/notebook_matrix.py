"""One notebook, many parameters: every combination is an executed copy of its own, several at a time.

A notebook is a unit of report and not of work (a kernel costs seconds): a matrix is for a handful of views.
Kernels are processes already, so threads start them; a second process would import papermill again.

In the folder lie the copies, named for the notebook and the combination, and matrix.json, which says of each
what became of it. It is written after every copy: run again, a matrix goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from llmbench.bench.notebook_parameters import checked_notebook
from llmbench.bench.notebooks import run_notebook
from llmbench.bench.results import write_whole
from llmbench.bounded import read_json
from llmbench.errors import NotebookError
from llmbench.markup import Link, table
from llmbench.messages import canonical_json
from llmbench.visible import visible

INDEX_FILE: Final = "matrix.json"
MatrixStatus = Literal["ok", "kept", "failed", "interrupted", "pending"]
#: A text that stands in a name as it is: no capitals, since some file systems do not tell them apart, and no
#: `-`, which stands between parameters.
_PLAIN: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_BYTES: Final = 180  # a file name has 255, and a copy's ending takes 15


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """What became of one combination.

    Attributes:
        name: of its copy, without the ending.
        parameters: the combination, without the parameters that all share.
        status: `ok` ran now, `kept` ran before and was left as it is, `failed`, `interrupted` while it ran,
            or `pending`, not started.
        fingerprint: a hash of the source and of all its parameters.
        copy: file name of the executed copy (of the failed one, when it failed), or None.
        error: what went wrong, in one line, or None.
        duration_s: wall seconds of an `ok` run, else None.
    """

    name: str
    parameters: Mapping[str, Any]
    status: MatrixStatus
    fingerprint: str
    copy: str | None = None
    error: str | None = None
    duration_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row as it stands in matrix.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MatrixRun:
    """A finished matrix: one row a combination, in the order of the matrix; shown as a table."""

    source: Path
    out_dir: Path
    rows: tuple[MatrixRow, ...]

    @property
    def failed(self) -> tuple[MatrixRow, ...]:
        """The rows that did not run to their end."""
        return tuple(row for row in self.rows if row.status not in ("ok", "kept"))

    def __str__(self) -> str:
        lines = [self._head(), *(self._cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        pairs = (zip(line, widths, strict=True) for line in lines)
        return "\n".join("  ".join(cell.ljust(width) for cell, width in pair).rstrip() for pair in pairs)

    def _repr_html_(self) -> str:
        return table(self._head(), map(self._linked, self.rows), self.source.name)

    def _head(self) -> list[str]:
        return ["status", *(visible(name) for name in self.rows[0].parameters), "copy", "seconds", "error"]

    def _cells(self, row: MatrixRow) -> list[str]:
        seconds = "" if row.duration_s is None else f"{row.duration_s:.1f}"
        values = [json.dumps(value, ensure_ascii=False) for value in row.parameters.values()]
        return [visible(cell) for cell in (row.status, *values, row.copy or "", seconds, row.error or "")]

    def _linked(self, row: MatrixRow) -> list[object]:
        cells: list[object] = [*self._cells(row)]
        if row.copy:  # a relative link opens from a notebook and from a page
            cells[-3] = Link(visible(row.copy), quote(os.path.relpath(self.out_dir / row.copy)))
        return cells


def run_matrix(
    source: Path,
    out_dir: Path,
    matrix: Mapping[str, Sequence[object]],
    parameters: Mapping[str, object] | None = None,
    *,
    jobs: int = 2,
    again: bool = False,
    cwd: Path | None = None,
    timeout_s: float = 3600,
    cell_timeout_s: float | None = None,
    on_row: Callable[[MatrixRow], None] | None = None,
) -> MatrixRun:
    """Run a notebook once for each combination of values, `jobs` at a time.

    Every combination is checked before the first kernel starts. A notebook that fails is kept with its error
    and the others go on. A combination whose copy is there, of the same source and parameters, is kept.

    Args:
        source: the notebook; it is never written to.
        out_dir: folder of the executed copies and of matrix.json.
        matrix: parameter name -> its values. With no names it is one run.
        parameters: values that all combinations share.
        jobs: most kernels at once; each takes about one core while it starts.
        again: run also the combinations whose copies are there.
        cwd: as for `run_notebook`, as are `timeout_s` and `cell_timeout_s`, of one notebook.
        timeout_s: most seconds for one notebook.
        cell_timeout_s: most seconds for one cell.
        on_row: told of each combination that ended now, in the order they end.

    Raises:
        NotebookError: the notebook, the matrix or a parameter is wrong, or another process runs a matrix into
            the folder. Nothing was started.
        KeyboardInterrupt: raised on after every kernel is ended and matrix.json says what was interrupted.
    """
    if jobs < 1:
        raise NotebookError(f"jobs={jobs}: at least one notebook must run at a time")
    if cwd is not None and not cwd.is_dir():
        raise NotebookError(f"{source.name}: the folder to run in, {cwd}, does not exist; make it first")
    shared = dict(parameters or {})
    planned = _planned(source, out_dir, matrix, shared)
    options = {"cwd": cwd, "timeout_s": timeout_s, "cell_timeout_s": cell_timeout_s}

    def run_one(row: MatrixRow, stop: Future[None]) -> MatrixRow:
        output = out_dir / f"{row.name}.ipynb"
        try:
            run = run_notebook(source, output, shared | {**row.parameters}, stop=stop, **options)  # type: ignore[arg-type]
        except NotebookError as error:
            failed = output.with_suffix(".failed.ipynb")
            return replace(row, status="failed", copy=failed.name, error=_kept_error(failed) or str(error))
        return replace(row, status="ok", copy=output.name, duration_s=round(run.duration_s, 3))

    with _held(out_dir):
        board = _Board(source, out_dir, shared, {row.name: row for row in planned})
        board.take_over(again=again)
        board.write()
        board.run(run_one, jobs, on_row)
    return MatrixRun(source, out_dir, tuple(board.rows.values()))


def combinations(matrix: Mapping[str, Sequence[object]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last name changing fastest.

    Raises:
        NotebookError: a name has no list of values, none, or one twice.
    """
    for name, values in matrix.items():
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            raise NotebookError(f"matrix: `{name}` got {values!r}; give a list of values")
        texts = [json.dumps(value, sort_keys=True, default=repr) for value in values]
        if not texts:
            raise NotebookError(f"matrix: `{name}` has no values; give one or more")
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None:
            raise NotebookError(f"matrix: `{name}` has the value {twice} twice; leave one out")
    return [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]


def combination_name(combination: Mapping[str, Any], prefix: str = "") -> str:
    """A file name for a combination, such as `limit_10-seed_1`: letters, digits, `_` and `-` beside a prefix.

    Names do not depend on the other combinations or on the order of parameters. What is not written in full
    (a long text, a list, a capital or a sign) is told apart by a hash at the end.
    """
    words, is_whole = ([prefix] if prefix else []), True
    for name in sorted(combination):
        word, is_its_own = _value_word(combination[name])
        words.append(f"{name}_{word}")
        is_whole &= is_its_own
    encoded = "-".join(words).encode()
    if is_whole and len(encoded) <= _NAME_BYTES:
        return encoded.decode()
    digest = hashlib.sha256(f"{prefix} {canonical_json(dict(combination))}".encode()).hexdigest()[:8]
    return f"{encoded[:_NAME_BYTES].decode(errors='ignore')}-{digest}"


def _value_word(value: object) -> tuple[str, bool]:
    """A value as part of a name, and whether it is the only value with this word."""
    if value is None or isinstance(value, int | float):
        return json.dumps(value), True
    text = value if isinstance(value, str) else json.dumps(value)
    if value == text and _PLAIN.fullmatch(text) and text not in ("true", "false", "null"):
        return text, True
    return _UNSAFE.sub("_", text)[:40], False


def _planned(
    source: Path, out_dir: Path, matrix: Mapping[str, Sequence[object]], shared: Mapping[str, object]
) -> list[MatrixRow]:
    """Check every combination; a row each, all of them pending."""
    both = next((name for name in matrix if name in shared), None)
    if both is not None:
        raise NotebookError(f"{source.name}: `{both}` is set for all and in the matrix; give it once")
    digest, rows = "", []
    for combination in combinations(matrix):
        _, values = checked_notebook(source, out_dir / source.name, {**shared, **combination})
        digest = digest or hashlib.sha256(source.read_bytes()).hexdigest()
        own = {name: values[name] for name in combination}
        fingerprint = hashlib.sha256(f"{digest} {canonical_json(values)}".encode()).hexdigest()[:32]
        rows.append(MatrixRow(combination_name(own, source.stem), own, "pending", fingerprint))
    return rows


def _kept_error(failed: Path) -> str | None:
    """What the kept copy of a failed run says, without this machine's paths."""
    try:
        return str(read_json(failed)["metadata"]["llmbench"]["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _held(out_dir: Path) -> Iterator[None]:
    """Keep a second process from running a matrix into the folder; its lock ends with this process."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        folder = os.open(out_dir, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotebookError(f"the folder {out_dir} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotebookError(f"another matrix is being run into {out_dir}; wait for it") from error
        yield
    finally:
        os.close(folder)


@dataclass(slots=True)
class _Board:
    """The rows of a matrix under way, and their file."""

    source: Path
    out_dir: Path
    shared: Mapping[str, object]
    rows: dict[str, MatrixRow]
    others: list[dict[str, Any]] = field(default_factory=list)

    def take_over(self, *, again: bool) -> None:
        """Keep what an earlier run finished: same fingerprint, and its copy is there, unless run `again`.

        Rows of combinations that are not asked for now stay in the index, as their copies stay in the folder.
        """
        try:
            held = read_json(self.out_dir / INDEX_FILE)["rows"]
            done = {str(row["name"]): row for row in held if row["status"] in ("ok", "kept")}
        except (OSError, ValueError, KeyError, TypeError):
            return  # no index, or none of ours: everything is run
        here = {name: row for name, row in done.items() if (self.out_dir / f"{name}.ipynb").is_file()}
        self.others = [row for name, row in here.items() if name not in self.rows]
        for name, row in self.rows.items():
            if not again and name in here and here[name].get("fingerprint") == row.fingerprint:
                self.rows[name] = replace(row, status="kept", copy=f"{name}.ipynb")

    def run(
        self,
        run_one: Callable[[MatrixRow, Future[None]], MatrixRow],
        jobs: int,
        on_row: Callable[[MatrixRow], None] | None,
    ) -> None:
        """Run what is pending, and note each as it ends; an interrupt ends all kernels, then goes on."""
        stop: Future[None] = Future()
        with ThreadPoolExecutor(jobs, thread_name_prefix="llmbench-notebook") as pool:
            todo = [row for row in self.rows.values() if row.status == "pending"]
            running = {pool.submit(run_one, row, stop): row for row in todo}
            try:
                for ended in as_completed(running):
                    self._note(ended.result(), on_row)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stop.set_result(None)
                pool.shutdown()  # not `wait`: it would wait for ever for those that were cancelled
                for ended, row in running.items():
                    self._note_stopped(ended, row)
                self.write()
                raise

    def _note(self, row: MatrixRow, on_row: Callable[[MatrixRow], None] | None) -> None:
        self.rows[row.name] = row
        self.write()
        if on_row is not None:
            on_row(row)

    def _note_stopped(self, ended: Future[MatrixRow], row: MatrixRow) -> None:
        """Note one that came to its end all the same as it ended, and one that was begun as interrupted."""
        if ended.cancelled():
            return
        stopped = replace(row, status="interrupted")
        self.rows[row.name] = stopped if ended.exception() is not None else ended.result()

    def write(self) -> None:
        """Write matrix.json, whole."""
        facts = {
            "schema": 1,
            "source": self.source.name,
            "parameters": self.shared,
            "rows": [*self.others, *(row.as_dict() for row in self.rows.values())],
        }
        text = json.dumps(facts, ensure_ascii=False, indent=2, default=str)
        write_whole(self.out_dir / INDEX_FILE, [text, "\n"])
