"""Every error llmbench raises, as one tree.

    LLMBenchError
    |-- ConfigError             a file under configs/ cannot be used (names file and line)
    |-- RouteError              no candidate is left for a task (lists every exclusion)
    |-- ParamError              a parameter of the call is unknown or refused (strict=True)
    |-- ProviderError           one attempt at one model failed; `kind` is one of ERROR_KINDS
    |-- FallbackExhausted       every attempt failed; also an ExceptionGroup of them
    |-- BudgetExceeded          the next call would pass a budget; nothing was spent on it
    |-- UnsavedError            pictures or audio came and were paid for, and a file could not be written
    |-- EmbeddedServerError     a local model cannot be found or started
    `-- BenchError              the lab half
        |-- DatasetError        a dataset or its card is not as declared
        |-- SweepError          a plan or a ledger cannot be used
        |-- NotebookError       a notebook's parameters are wrong, or its run did not end well
        |-- ApplyError          a recommendation may not be applied, or an apply cannot be undone
        `-- WarehouseError      a query, or the files behind it, cannot be read

The kinds are one vocabulary: the exception, the policy file, telemetry and SQL use the same word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

ErrorKind = Literal[
    "connect",
    "timeout",
    "auth",
    "quota",
    "model_not_found",
    "rate_limit",
    "bad_request",
    "unsupported_param",
    "context_length",
    "content_filter",
    "refusal",
    "server_error",
    "empty",
    "malformed",
    "truncated",
    "invalid_output",
    "no_media",
    "circuit_open",
    "cancelled",
]
ERROR_KINDS: Final[tuple[ErrorKind, ...]] = get_args(ErrorKind)


#: Why a candidate was not asked: what the call needs and it lacks, or that it cannot be called from here.
#: `context`: the prompt and the output limit do not fit; `ability`: no images, no tools; `config`: no such
#: model, one of another kind, or the tier's own condition; `unreachable`: no key, no address, not installed.
ExclusionCause = Literal["context", "ability", "config", "unreachable"]


class LLMBenchError(Exception):
    """Base of every error raised on purpose. Its text is one line that says what, where and what to do.

    Every error survives pickling with its attributes: sweeps pass them between processes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[LLMBenchError], args: tuple[Any, ...], state: dict[str, Any]) -> LLMBenchError:
    """Rebuild a pickled error without calling its constructor, whose arguments it no longer has."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(LLMBenchError):
    """A config file cannot be used.

    Attributes:
        path: the file, relative to the config folder, or None when no one file is at fault.
        line: 1-based line in that file, or None.
    """

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}:{line}: " if line else f"{path}: "
        super().__init__(place + message)
        self.path = path
        self.line = line


class RouteError(LLMBenchError):
    """No candidate can take the call.

    Attributes:
        excluded: (model key, reason) of every candidate that was removed.
        causes: what kind of reason each of them is.
    """

    def __init__(
        self,
        message: str,
        excluded: Sequence[tuple[str, str]] = (),
        causes: Sequence[ExclusionCause] = (),
    ) -> None:
        super().__init__(message)
        self.excluded = tuple(excluded)
        self.causes = tuple(causes)

    @property
    def kind(self) -> ErrorKind:
        """What the call asked too much of the candidates that can be called here.

        `context_length` where it fits none of them, `unsupported_param` where they also lack an ability, else
        `model_not_found`.
        """
        asked = set(self.causes) - {"config", "unreachable"}
        if not asked:
            return "model_not_found"
        return "context_length" if asked == {"context"} else "unsupported_param"


class ParamError(LLMBenchError):
    """A parameter is unknown, malformed, or refused under strict=True."""


class ProviderError(LLMBenchError):
    """One attempt at one model failed.

    Attributes:
        kind: one of ERROR_KINDS.
        status_code: the HTTP status, or None when no reply came.
        retry_after_s: seconds the provider asked to wait, or None.
        request_id: the provider's id of the failed request, or None.
        output: text received before the failure, or None.
        param: the parameter that the provider named in a 400 of kind unsupported_param, as it writes it, or
            None; several are joined by commas.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        output: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.output = output
        self.param = param


class FallbackExhausted(ExceptionGroup[ProviderError], LLMBenchError):
    """Every attempt of a call failed. `exceptions` holds one ProviderError an attempt, in order.

    Attributes:
        attempts: what each attempt met, as `llmbench.messages.Attempt` values.
        adjustments: every parameter that was not sent verbatim, as `llmbench.messages.Adjustment` values.
        call_id: the call's id in telemetry, or None outside a router.
        output: the text that a broken stream had already delivered, or None.
    """

    attempts: tuple[object, ...] = ()
    adjustments: tuple[object, ...] = ()
    call_id: str | None = None
    output: str | None = None

    @property
    def kind(self) -> ErrorKind:
        """The kind of the last attempt's error."""
        return self.exceptions[-1].kind  # type: ignore[union-attr]

    def derive(self, excs: Sequence[ProviderError]) -> FallbackExhausted:  # type: ignore[override]
        """Rebuild the group around a subset, as `except*` needs."""
        group = FallbackExhausted(self.message, excs)
        group.attempts, group.adjustments = self.attempts, self.adjustments
        group.call_id, group.output = self.call_id, self.output
        return group


class BudgetExceeded(LLMBenchError):
    """The next call would pass a budget. Nothing was sent and nothing spent."""


class UnsavedError(LLMBenchError):
    """What a call made could not be written to its file, or the record beside it could not.

    Attributes:
        problem: which file, and why.
        response: the ImageResponse or SpeechResponse with all that came and was paid for. A picture that was
            written has its `path`; audio that was not is in `audio`.
    """

    def __init__(self, problem: str, response: Any) -> None:
        super().__init__(f"{problem}; what came is in the error's `response`: write it elsewhere")
        self.problem = problem
        self.response = response


class EmbeddedServerError(LLMBenchError):
    """A local model's package, file or server is missing or does not answer."""


class BenchError(LLMBenchError):
    """Base of the lab half's errors."""


class DatasetError(BenchError):
    """A dataset file or its card is not as declared. The text names file and line."""


class SweepError(BenchError):
    """A sweep plan or ledger cannot be used."""


class NotebookError(BenchError):
    """A notebook got wrong parameters, or its execution did not end with every cell run."""


class ApplyError(BenchError):
    """A recommendation may not be applied, or an apply cannot be undone.

    Nothing was written, but where the disk failed in between: then the text says that a journal is kept.
    """


class WarehouseError(BenchError):
    """A query is wrong, or a file behind it cannot be read."""
