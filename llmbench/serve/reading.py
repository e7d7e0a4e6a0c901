"""The body of a request as checked data: JSON within limits, known names, plain types. Nothing is dropped."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request

from llmbench.serve.problems import Problem, refused
from llmbench.structuring import is_number, loads_strictly

#: Seconds that a client has for sending its body.
BODY_S: Final = 30.0
#: Lists and objects inside each other; no schema and no conversation comes near it.
_DEEPEST: Final = 60
Check = tuple[Callable[[Any], bool], str]


def is_text(value: Any) -> bool:
    """Whether a value is a text with something in it."""
    return isinstance(value, str) and bool(value.strip())


TEXT: Final[Check] = (is_text, "a text")
#: Characters of a name: it stands in every line of telemetry, and a task's also in a header.
MOST_NAME: Final = 200


def _is_name(value: Any) -> bool:
    return is_text(value) and len(value) <= MOST_NAME


NAME: Final[Check] = (_is_name, f"a text of at most {MOST_NAME} characters")
FLAG: Final[Check] = (lambda value: isinstance(value, bool), "true or false")
OVER_ZERO: Final[Check] = (lambda value: is_number(value) and value > 0, "a number over 0")
OBJECT: Final[Check] = (lambda value: isinstance(value, dict), "an object")
_NAMES: Final[Check] = (
    lambda value: _is_name(value) or (isinstance(value, list) and bool(value) and all(map(_is_name, value))),
    "a model key or a list of them",
)
#: The fields of the body's `llmbench` object, and the argument of the router that each becomes.
OWN_FIELDS: Final[Mapping[str, tuple[str, Check]]] = {
    "channel": ("channel", NAME),
    "env": ("env", NAME),
    "tier": ("tier", NAME),
    "models": ("models", _NAMES),
    "allow_fallback": ("allow_fallback", FLAG),
    "strict": ("strict", FLAG),
    "budget_usd": ("budget_usd", OVER_ZERO),
    "run_id": ("run_id", NAME),
    "routing_key": ("routing_key", NAME),
    "deadline_s": ("timeout", OVER_ZERO),
    "extra_body": ("extra_body", OBJECT),
}


async def read_body(request: Request, most_bytes: int) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Problem: 415 another type than JSON, 413 too large, 408 too slow, 400 no JSON object.
        ClientDisconnect: the client went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            415, "bad_request", "send the body as JSON, with the header content-type: application/json"
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "bad_request", "send the body as it is, without a content-encoding")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise _too_large(most_bytes)
    except TimeoutError as error:
        raise Problem(408, "timeout", f"the body did not arrive within {BODY_S:g} s") from error
    return parsed(bytes(body))


def _too_large(most_bytes: int) -> Problem:
    return Problem(413, "bad_request", f"the body is larger than {most_bytes // 2**20} MiB (--max-body-mb)")


def parsed(body: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        Problem: 400, it holds no JSON object, or one that is nested too deeply.
    """
    try:
        value = loads_strictly(body)
    except ValueError as error:
        what = str(error) if not isinstance(error, UnicodeDecodeError) else "it is not UTF-8"
        raise Problem(400, "bad_request", f"the body is not JSON: {what[:200]}") from error
    if not isinstance(value, dict):
        raise Problem(400, "bad_request", "the body must be one JSON object")
    if not _is_shallow(value):
        raise Problem(400, "bad_request", f"the body is nested deeper than {_DEEPEST} levels")
    return value


def _is_shallow(value: object) -> bool:
    """Whether no more than _DEEPEST containers stand inside each other; without recursion."""
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        inner = (part.values() if isinstance(part, dict) else part for part in level)
        level = [each for part in inner for each in part if isinstance(each, dict | list)]
        if not level:
            return True
    return False


def require_known(given: Iterable[str], known: Sequence[str], where: str = "") -> None:
    """Refuse a name that nobody reads.

    Raises:
        Problem: 400 unsupported_param, with a did-you-mean.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise refused(f"{where}{name[:80]}", f"unknown parameter; {hint}", "unsupported_param")


def require_inert(body: Mapping[str, Any], unsupported: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse a field of OpenAI's that means something here cannot do, unless its value asks for nothing.

    Raises:
        Problem: 400 unsupported_param.
    """
    for name, harmless in unsupported.items():
        value = body.get(name)
        if value is None or any(value == each and type(value) is type(each) for each in harmless):
            continue
        also = f"; only {', '.join(map(repr, harmless))} is taken" if harmless else "; leave it out"
        raise refused(name, f"this endpoint does not do that{also}", "unsupported_param")


def checked(body: Mapping[str, Any], checks: Mapping[str, Check], where: str = "") -> dict[str, Any]:
    """The fields of a body that are named here and not null.

    Raises:
        Problem: 400, one has a wrong type.
    """
    found = {name: body[name] for name in checks if body.get(name) is not None}
    for name, value in found.items():
        is_right, wanted = checks[name]
        if not is_right(value):
            raise refused(where + name, f"must be {wanted}, not {value!r:.80}")
    return found


def own_arguments(body: Mapping[str, Any]) -> dict[str, Any]:
    """The router's arguments in the body's `llmbench` object.

    Raises:
        Problem: 400, a field is unknown or has a wrong value.
    """
    own = body.get("llmbench")
    if own is None:
        return {}
    if not isinstance(own, dict):
        raise refused("llmbench", f"must be an object, not {type(own).__name__}")
    require_known(own, list(OWN_FIELDS), "llmbench.")
    found = checked(own, {name: check for name, (_, check) in OWN_FIELDS.items()}, "llmbench.")
    return {OWN_FIELDS[name][0]: value for name, value in found.items()}


def with_user(arguments: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with OpenAI's `user` as the routing key, unless the `llmbench` object names one."""
    user = checked(body, {"user": NAME})
    return arguments if not user else {"routing_key": user["user"], **arguments}
