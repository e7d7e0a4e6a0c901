"""One notebook in one kernel: this interpreter, IPC sockets, ended whatever happens.

papermill runs on a thread with an event loop of its own. So the caller's thread is free to be interrupted, to
keep the time, and to kill; and a caller with a running loop (a notebook, a server) can call it as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.execute import execute_notebook

_ENGINE: Final = "llmbench"
_SOCKET_PATH_LIMIT: Final = 96  # bytes for the folder; sun_path holds 104 on macOS, with `/k-5` and a NUL
_FAREWELL_S: Final = 0.7  # what an interrupted cell gets to close what it holds; then the kernel is killed
_STOP_WAIT_S: Final = 10.0  # the kernel is killed at once; this bounds the wait for its thread to notice
_IOPUB_WAIT_S: Final = 60  # most seconds for a cell's last output after its reply; 4 fails on a busy machine
_START_WAIT_S: Final = 120  # most seconds for a kernel to answer; it imports for 2 to 20 s on a busy machine

# papermill and nbclient log what is raised as a NotebookError; without a handler Python prints it as well.
logging.getLogger("papermill").addHandler(logging.NullHandler())


def short_folder() -> str | None:
    """Where the sockets' folder goes: the usual place, or /tmp when that path is too long for a socket."""
    usual = tempfile.gettempdir()
    return None if len(os.fsencode(usual)) + len("/llmb-12345678") <= _SOCKET_PATH_LIMIT else "/tmp"  # noqa: S108


class _Kernel(AsyncKernelManager):
    """A kernel of this interpreter; its sockets, connection file, profile and log lie in one short folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(connection_file=str(folder / "kernel.json"))
        self.transport = "ipc"
        self.ip = str(folder / "k")
        self.shutdown_wait_time = 2.0
        self.folder = folder
        self.stopped = False
        self.clients: list[Any] = []

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command, built here: an installed `python3` spec may point to another environment."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start it with a log file for its own output and an environment that repeats."""
        if self.stopped:
            raise DeadKernelError("stopped before it started")
        own = {"IPYTHONDIR": str(self.folder / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        env = {"PYTHONHASHSEED": "0"} | dict(os.environ) | own
        with (self.folder / "kernel.log").open("wb") as log:
            await self._async_start_kernel(stdout=log, stderr=log, env=env, **options)

    def client(self, **options: Any) -> Any:
        """Make a client and remember it, to close its sockets."""
        self.clients.append(super().client(**options))
        return self.clients[-1]

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the cell that is running; what the kernel started is left alone."""
        process = getattr(self.provisioner, "process", None)
        if process:
            process.send_signal(signal.SIGINT)  # nothing when it is gone already

    def kill(self) -> None:
        """End the kernel and what it started, now. May be called from any thread, and again."""
        self.stopped = True
        group = getattr(self.provisioner, "pgid", None)
        if group:
            with suppress(OSError):  # it is gone already
                os.killpg(group, signal.SIGKILL)

    async def end(self, *, politely: bool) -> None:
        """End the kernel, give its exit hooks a chance when `politely`, and close every socket."""
        if not politely:
            self.kill()
        for client in self.clients:
            client.stop_channels()
        if self.has_kernel:
            await self.shutdown_kernel(now=not politely)
        await self.cleanup_resources()
        self.kill()


class Execution:
    """One run of one notebook.

    Attributes:
        notebook: the notebook as far as it was run.
        cell: index of the cell entered last, or None before the first.
        timed_out: whether it was stopped because its time was over.
    """

    def __init__(self, folder: Path, notebook: Any) -> None:  # nbformat's nodes are untyped
        self.notebook = notebook
        self.cell: int | None = None
        self.timed_out = False
        self._folder = folder
        self._kernel = _Kernel(folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = False
        self._outcome: Future[None] = Future()

    def execute(
        self,
        partial: Path,
        values: Mapping[str, Any],
        *,
        timeout_s: float,
        stop: Future[None] | None = None,
        **options: Any,
    ) -> BaseException | None:
        """Run every cell, saving to `partial` on the way; return what went wrong, or None.

        Args:
            partial: where papermill saves after each cell.
            values: the parameters to inject.
            timeout_s: most seconds until the run is stopped.
            stop: when it is done the run is stopped; one may stop many runs, from any thread.
            options: settings of nbclient's NotebookClient.

        Raises:
            KeyboardInterrupt: the run was stopped by `stop`.
        """
        ends = [self._outcome] if stop is None else [self._outcome, stop]
        arguments = (self._work, partial, values, options)
        threading.Thread(target=contextvars.Context().run, args=arguments, daemon=True).start()
        wait(ends, timeout_s, FIRST_COMPLETED)
        if stop is not None and stop.done() and not self._outcome.done():
            raise KeyboardInterrupt
        if not self._outcome.done():
            self.timed_out = True
            self.stop()
        if not self._outcome.done():
            return TimeoutError("the run's thread does not end")
        return self._outcome.exception()

    def stop(self) -> None:
        """End the kernel and what it started, and wait until the run's thread has left it.

        The cell under way is interrupted first: a sweep then records its calls in flight as interrupted, and
        its progress as stopped. A cell that does not end on that is killed.
        """
        try:
            self._kernel.interrupt()
            wait([self._outcome], _FAREWELL_S)
        finally:  # also when the person presses Ctrl-C again
            self._kernel.kill()
        if self._loop:
            with suppress(RuntimeError):  # the loop is closed: the run is over
                self._loop.call_soon_threadsafe(self._break_off)
        wait([self._outcome], _STOP_WAIT_S)

    def last_words(self) -> str:
        """The last line that the kernel's process wrote by itself, such as a fault; or an empty text."""
        log = self._folder / "kernel.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def entered(self, *, cell_index: int, **_: object) -> None:
        """Note which cell is running; nbclient calls it."""
        self.cell = cell_index

    def _work(self, partial: Path, values: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        try:
            self._loop = ensure_event_loop()  # the loop that nbclient will use on this thread
            politely = False
            try:
                self._papermill(partial, values, options)
                politely = True
            finally:
                self._close(politely=politely)
        except BaseException as error:  # noqa: BLE001  # handed over whole to the waiting thread
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(None)

    def _papermill(self, partial: Path, values: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        source = self._folder / "source.ipynb"
        text: str = nbformat.writes(self.notebook)  # type: ignore[no-untyped-call]
        source.write_text(text, encoding="utf-8")
        execute_notebook(  # type: ignore[no-untyped-call]
            _literal(source),
            _literal(partial.absolute()),
            parameters=dict(values),
            engine_name=_ENGINE,
            execution=self,
            km=self._kernel,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=_START_WAIT_S,
            iopub_timeout=_IOPUB_WAIT_S,
            record_timing=False,
            on_cell_start=self.entered,
            **options,
        )

    def _close(self, *, politely: bool) -> None:
        """End the kernel and leave nothing on the loop: no task, no socket, no unclosed loop."""
        loop = ensure_event_loop()
        self._ending = True
        try:
            _cancel_tasks(loop)
            loop.run_until_complete(self._kernel.end(politely=politely))
            _cancel_tasks(loop)
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _break_off(self) -> None:
        """Leave the cell that is running; runs on the run's loop, and not while the kernel is being ended."""
        if self._loop and not self._ending:
            _cancel_tasks(self._loop)


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def _literal(path: Path) -> str:
    """A path as papermill wants it: braces would be format fields."""
    return str(path).replace("{", "{{").replace("}", "}}")


class _Engine(NBClientEngine):
    """papermill's own engine; it hands the notebook over before the first cell, to outlive a failure."""

    @classmethod
    def execute_notebook(  # type: ignore[override]
        cls, nb: Any, kernel_name: str, *, execution: Execution, **options: Any
    ) -> Any:
        """Run the notebook; its metadata get base names in place of absolute paths."""
        execution.notebook = nb
        for key in ("input_path", "output_path"):
            nb.metadata.papermill[key] = Path(nb.metadata.papermill[key]).name
        return super().execute_notebook(nb, kernel_name, **options)  # type: ignore[no-untyped-call]


papermill_engines.register(_ENGINE, _Engine)  # type: ignore[no-untyped-call]
