"""From the arguments of an image or speech call to what it asks for.

The arguments stand here once; every door of pictures and of narration takes the same.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from llmbench.config.model import MediaModality
from llmbench.errors import ParamError, ProviderError
from llmbench.media import Blob
from llmbench.messages import Message, Request
from llmbench.routing.arguments import check_flags, check_task, check_texts, named_models
from llmbench.routing.media_call import MediaAsked
from llmbench.routing.media_files import check_target
from llmbench.routing.media_params import cleared, normalise
from llmbench.routing.prepare import text_tokens
from llmbench.routing.resolve import Wanted
from llmbench.routing.setup import Setup


def media_asked(
    setup: Setup,
    kind: MediaModality,
    task: str,
    text: str,
    *,
    out: str | Path | None = None,
    references: bytes | str | Path | Sequence[bytes | str | Path] | None = None,
    channel: str | None = None,
    env: str | None = None,
    tier: str | None = None,
    models: str | Sequence[str] | None = None,
    allow_fallback: bool | None = None,
    strict: bool = False,
    budget_usd: float | None = None,
    run_id: str | None = None,
    cell: str | None = None,
    routing_key: str | None = None,
    **params: Any,
) -> MediaAsked:
    """What a media call asks for, with the task's own settings filled in.

    Args:
        setup: the loaded view and the process's variables.
        kind: image or speech.
        task: the kind of work, as the media file names it.
        text: the prompt, or what is to be spoken.
        out: the file to write; a record of how it was made is written beside it.
        references: pictures for a picture to go by, one or several: bytes, or paths of files.
        channel: written to telemetry; `LLM_CHANNEL` by default.
        env: written to telemetry; `LLM_ENV` by default.
        tier: use this tier whatever the file says of the task.
        models: use these candidates; only the first unless allow_fallback.
        allow_fallback: True lets another model answer, whose style is another; the task's own by default.
        strict: refuse instead of adjusting a parameter.
        budget_usd: the most that this call may cost, in USD.
        run_id: the sweep this call belongs to; written to telemetry.
        cell: the sweep's cell; written to telemetry.
        routing_key: who the call is for; `LLM_ROUTING_KEY` by default.
        **params: canonical parameters of the kind or their aliases; `timeout` is the deadline in seconds. A
            None takes away what the files set, but for the deadline.

    Raises:
        ParamError: an argument is unknown or has a wrong value.
    """
    check_task(task)
    check_texts(channel=channel, env=env, tier=tier, run_id=run_id, cell=cell, routing_key=routing_key)
    check_flags(allow_fallback=allow_fallback, strict=strict)
    environment = setup.environment
    channel, env = channel or environment.channel, env or environment.env
    settings = setup.settings(task, channel, env)
    options, renamed = normalise(kind, params)
    rule = setup.config.media[kind].tasks.get(task)
    own_fallback = rule is not None and bool(rule.allow_fallback)
    request = Request(
        task=task,
        messages=(Message("user", text),),
        call_id=uuid.uuid4().hex,
        options=options,
        channel=channel,
        env=env,
        deadline_s=float(options.get("timeout") or settings.timeout_s or settings.policy.deadline_s),
        strict=bool(strict),
        budget_usd=budget_usd,
        run_id=run_id,
        cell=cell,
        routing_key=routing_key or environment.routing_key,
    )
    wanted = Wanted(
        task=task,
        tier=tier,
        models=named_models(models),
        channel=channel,
        env=env,
        allow_fallback=own_fallback if allow_fallback is None else allow_fallback,
        modality=kind,
        input_tokens=text_tokens(text),
    )
    return MediaAsked(
        request,
        wanted,
        settings.policy,
        renamed,
        references=_references(kind, references),
        out=None if out is None else _target(out),
        cleared=cleared(kind, params),
    )


def _target(out: object) -> Path:
    """The file to write.

    Raises:
        ParamError: it is no path, or cannot be written.
    """
    name = os.fspath(out) if isinstance(out, str | os.PathLike) else None
    if not isinstance(name, str):
        raise ParamError(f"out: give the path of a file as a text or a Path, not {type(out).__name__}")
    return check_target(name)


def _references(kind: MediaModality, given: object) -> tuple[Blob, ...]:
    """The pictures to go by, none where None is given.

    Raises:
        ParamError: one of them is no picture, or a narration is given any.
    """
    several = [given] if isinstance(given, bytes | str | Path) else () if given is None else given
    if not isinstance(several, Iterable):
        raise ParamError(
            f"references: give pictures as bytes or paths, one or a list, not {type(given).__name__}"
        )
    pictures = tuple(several)
    if pictures and kind == "speech":
        raise ParamError("references: a narration takes no pictures; leave them out (ImageClient takes them)")
    return tuple(map(_reference, pictures))


def _reference(given: object) -> Blob:
    """A picture to go by, with the type that its bytes tell.

    Raises:
        ParamError: it cannot be read, or is no picture.
    """
    from llmbench.providers.pictures import open_picture

    if not isinstance(given, bytes | str | Path):
        raise ParamError(f"references: give the bytes of a picture or its path, not {type(given).__name__}")
    try:
        data = given if isinstance(given, bytes) else Path(given).read_bytes()
    except OSError as error:
        raise ParamError(f"references: {error.filename} cannot be read: {error.strerror}") from error
    try:
        picture = open_picture(Blob(data))
    except ProviderError as error:
        what = "the bytes" if isinstance(given, bytes) else str(given)
        raise ParamError(
            f"references: {what} are no picture that can be read; give PNG, JPEG or WebP"
        ) from error
    return Blob(data, picture.mime)
