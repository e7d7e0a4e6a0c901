"""What a client is told when there is no answer: status, kind and one line, in OpenAI's shape."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response as HttpResponse

from llmbench.errors import (
    BudgetExceeded,
    ConfigError,
    EmbeddedServerError,
    ErrorKind,
    FallbackExhausted,
    LLMBenchError,
    ParamError,
    ProviderError,
    RouteError,
)

#: The HTTP status of a call whose last attempt ended with this kind.
STATUSES: Final[Mapping[ErrorKind, int]] = {
    "connect": 502,
    "timeout": 504,
    "auth": 502,  # the provider's key is refused, not the client's token
    "quota": 429,
    "model_not_found": 502,
    "rate_limit": 429,
    "bad_request": 400,
    "unsupported_param": 400,
    "context_length": 400,
    "content_filter": 400,
    "refusal": 400,
    "server_error": 502,
    "empty": 502,
    "malformed": 502,
    "truncated": 400,  # the output limit left no room for a text
    "invalid_output": 502,
    "no_media": 502,
    "circuit_open": 503,
    "cancelled": 503,
}
#: OpenAI's `type` of an error, by status.
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
#: A path of two names or more; one that begins with a folder of this machine tells where things lie on it.
_PATH: Final = re.compile(r"(?<![\w/.:])(?:~|/([\w.+-]+))(?:/[^\s\"'`:;,()\[\]{}<>]+)+")
_MOST_CHARACTERS: Final = 2000


class Problem(Exception):
    """A request that gets no answer.

    Attributes:
        status: the HTTP status.
        code: one of ERROR_KINDS, or a word of this endpoint's own (docs/serve.md lists them).
        param: the field of the request that is at fault, or None.
        headers: what goes with the answer besides its body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object of OpenAI's dialect."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": _TYPES.get(self.status, default)}
        return {"error": {**error, "param": self.param, "code": self.code}}

    def response(self) -> HttpResponse:
        """The whole HTTP answer."""
        return json_response(self.body(), self.status, self.headers)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer in JSON; in ASCII, so that half a surrogate pair in a model's text breaks no client."""
    return HttpResponse(json.dumps(value), status, dict(headers or {}), "application/json")


def refused(param: str, message: str, code: str = "bad_request") -> Problem:
    """A field of the request that cannot be taken: 400, with its name before the message."""
    return Problem(400, code, f"{param}: {message}", param=param)


def problem_of(error: LLMBenchError) -> Problem:
    """The problem that a call's own error is to a client, without paths of this machine.

    The router has tried again and elsewhere as its policy says, so clients are told not to
    (`x-should-retry`, which OpenAI's libraries obey).
    """
    headers = {"x-should-retry": "false"}
    if isinstance(error, FallbackExhausted):
        last = error.exceptions[-1]
        assert isinstance(last, ProviderError)  # noqa: S101 -- what the group holds
        if last.retry_after_s is not None and math.isfinite(last.retry_after_s):
            headers["retry-after"] = str(max(math.ceil(last.retry_after_s), 0))
        if error.call_id is not None:
            headers["x-request-id"] = error.call_id
        return Problem(
            STATUSES[last.kind], last.kind, shown(error.message), param=last.param, headers=headers
        )
    status, code = _status(error)
    message = _route_message(error) if isinstance(error, RouteError) else str(error)
    return Problem(status, code, shown(message), headers=headers)


def _route_message(error: RouteError) -> str:
    """Why no candidate is left; where the call asks too much, that alone and not what this server lacks."""
    if error.kind == "model_not_found":
        return str(error)
    reasons = [
        f"{model}: {reason}"
        for (model, reason), cause in zip(error.excluded, error.causes, strict=True)
        if cause in ("context", "ability")
    ]
    return "no candidate can take this call: " + "; ".join(reasons)


def _status(error: LLMBenchError) -> tuple[int, str]:
    if isinstance(error, ParamError):
        return 400, "bad_request"
    if isinstance(error, RouteError):
        return 400 if error.excluded else 404, error.kind
    if isinstance(error, BudgetExceeded):
        return 402, "budget_exceeded"
    if isinstance(error, EmbeddedServerError):
        return 503, "connect"
    return 500, "config_error" if isinstance(error, ConfigError) else "server_error"


def shown(text: str) -> str:
    """A message in one line, without the paths of this machine, and not endless.

    A path of a URL stays: `/v1/chat/completions` begins with no folder that is here.
    """
    line = _PATH.sub(_without_place, " ".join(text.split()))
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]} …"


def _without_place(found: re.Match[str]) -> str:
    first = found[1]
    return found[0] if first is not None and not Path("/", first).exists() else "(a path)"
