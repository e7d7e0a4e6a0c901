"""`llmbench explain`, `call`, `image` and `speak`: one call, by the door of its task."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmbench.cli_output import Configs, Json, err, out, print_answer, print_json
from llmbench.errors import LLMBenchError, ParamError, UnsavedError

if TYPE_CHECKING:
    from llmbench.media import ImageResponse, SpeechResponse
    from llmbench.messages import Response, Route
    from llmbench.routing.client import LLMClient
    from llmbench.routing.image_client import ImageClient
    from llmbench.routing.speech_client import SpeechClient

Channel = Annotated[str | None, typer.Option(help="Channel whose overrides apply.")]
Env = Annotated[str | None, typer.Option(help="Environment whose overrides apply.")]
Models = Annotated[str, typer.Option(help="Model keys, separated by commas; the first one only.")]
Strict = Annotated[bool, typer.Option(help="Refuse instead of adjusting a parameter.")]
Fallback = Annotated[bool, typer.Option("--allow-fallback", help="Let another model of the tier answer.")]


def explain(
    task: Annotated[str, typer.Argument(help="Task name.")],
    prompt: Annotated[str, typer.Argument(help="Prompt text; may be left out.")] = "",
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Say where a call would go and why. Nothing is sent."""
    with _door(configs, task) as client:
        given = (prompt,) if prompt else ()
        route = client.explain(task, *given, channel=channel, env=env, models=_split(models))
    print_json(_route_facts(route)) if as_json else out.print(escape(str(route)))


def call(
    task: Annotated[str, typer.Argument(help="Task name.")],
    prompt: Annotated[str, typer.Argument(help="Prompt text, or - to read it from standard input.")],
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Output limit in tokens.")] = None,
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Send one prompt the way its task is routed, and print the answer."""
    from llmbench.routing.client import LLMClient

    with LLMClient(configs) as client:
        reply = client.call(
            task,
            _text(prompt),
            system=system,
            channel=channel,
            env=env,
            models=_split(models),
            max_tokens=max_tokens,
        )
    if as_json:
        print_json(_reply_facts(reply))
        return
    print_answer(reply.text)
    _print_cost(reply)


def image(
    task: Annotated[str, typer.Argument(help="Task name, from image_models.yaml.")],
    prompt: Annotated[str, typer.Argument(help="Prompt text, or - to read it from standard input.")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write; a record is written beside it.")],
    aspect_ratio: Annotated[str | None, typer.Option(help="Such as 16:9.")] = None,
    size: Annotated[str | None, typer.Option(help="Pixels such as 1536x1024, or 1K, 2K, 4K.")] = None,
    n: Annotated[int | None, typer.Option(min=1, help="How many pictures.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="For pictures that can be made again.")] = None,
    negative: Annotated[str | None, typer.Option(help="What must not be in the picture.")] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A picture to go by; may be repeated.")] = None,
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    allow_fallback: Fallback = False,
    strict: Strict = False,
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Make pictures of a prompt the way its task is routed."""
    from llmbench.routing.image_client import ImageClient

    with ImageClient(configs) as client, _kept():
        reply = client.generate(
            task, _text(prompt), out=out_file, references=reference, channel=channel, env=env,
            models=_split(models), allow_fallback=allow_fallback or None, strict=strict,
            **_given(aspect_ratio=aspect_ratio, size=size, n=n, seed=seed, negative_prompt=negative),
        )  # fmt: skip
    files = [str(picture.path) for picture in reply.images]
    _print_media(reply, {"files": files}, is_json=as_json)


def speak(
    task: Annotated[str, typer.Argument(help="Task name, from speech_models.yaml.")],
    text: Annotated[str, typer.Argument(help="What is to be spoken, or - to read it from standard input.")],
    out_file: Annotated[
        Path,
        typer.Option("--out", help="File to write: .wav .mp3 .opus .flac .m4a; a record goes beside it."),
    ],
    srt: Annotated[Path | None, typer.Option(help="Write subtitles here, one for each piece.")] = None,
    voice: Annotated[str | None, typer.Option(help="A voice of the model.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.01, help="1 is the voice's own.")] = None,
    instructions: Annotated[str | None, typer.Option(help="How it is to be read.")] = None,
    split: Annotated[str | None, typer.Option(help="sentence: one piece a sentence; or size.")] = None,
    channel: Channel = None,
    env: Env = None,
    models: Models = "",
    allow_fallback: Fallback = False,
    strict: Strict = False,
    configs: Configs = Path("configs"),
    as_json: Json = False,
) -> None:
    """Have a text spoken the way its task is routed."""
    from llmbench.routing.media_files import write_file
    from llmbench.routing.speech_client import SpeechClient

    if srt is not None:
        _check_subtitles(srt, out_file)
    with SpeechClient(configs) as client, _kept():
        reply = client.synthesize(
            task, _text(text), out=out_file, channel=channel, env=env, models=_split(models),
            allow_fallback=allow_fallback or None, strict=strict,
            **_given(voice=voice, speed=speed, instructions=instructions, split=split),
        )  # fmt: skip
    files = [str(reply.path)]
    if srt is not None:
        try:
            write_file(srt, reply.srt().encode())
        except OSError as error:
            said = f"srt: {srt} cannot be written: {error.strerror or error}"
            raise LLMBenchError(f"{said}; the narration is in {reply.path}") from error
        files.append(str(srt))
    _print_media(reply, {"files": files, "duration_s": reply.duration_s}, is_json=as_json)


def _check_subtitles(srt: Path, out_file: Path) -> None:
    """See that subtitles can be written, before a narration is paid for.

    Raises:
        ParamError: they cannot, or would take the place of the narration or of its record.
    """
    from llmbench.routing.media_files import RECORD_SUFFIX, check_target

    taken = (out_file, out_file.with_name(out_file.name + RECORD_SUFFIX)) if out_file.name else ()
    if _place(check_target(srt, "srt")) in map(_place, taken):
        raise ParamError(f"srt: {srt} is where the narration or its record is written; name another file")


def _place(path: Path) -> str:
    """What a file is told from others by, where the disk may not tell capitals apart."""
    return str(path.resolve()).casefold()


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: a None would take away what the files set."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def _kept() -> Iterator[None]:
    """Write what was paid for and could not be saved to a folder of its own.

    Raises:
        LLMBenchError: it could not be saved; the text says where it is now.
    """
    from llmbench.media import ImageResponse

    try:
        yield
    except UnsavedError as error:
        made = error.response
        if isinstance(made, ImageResponse):
            unsaved = {
                f"{n}{each.suffix}": each.data for n, each in enumerate(made.images, 1) if not each.path
            }
        else:
            unsaved = {f"audio.{made.mime.partition('/')[2]}": made.audio} if made.path is None else {}
        if not unsaved:
            raise LLMBenchError(error.problem) from error  # the record alone is missing
        folder = Path(tempfile.mkdtemp(prefix="llmbench-unsaved-"))
        for name, data in unsaved.items():
            (folder / name).write_bytes(data)
        raise LLMBenchError(f"{error.problem}; what came was kept in {folder}") from error


def _door(configs: Path, task: str) -> LLMClient | ImageClient | SpeechClient:
    """The client that a task is asked through."""
    from llmbench.config import load_config
    from llmbench.routing.client import LLMClient
    from llmbench.routing.image_client import ImageClient
    from llmbench.routing.speech_client import SpeechClient

    config = load_config(configs)
    kind = config.media_of(task=task, tier="")
    if kind is None:
        return LLMClient(config)
    return ImageClient(config) if kind == "image" else SpeechClient(config)


def _print_media(reply: ImageResponse | SpeechResponse, facts: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        print_json({**_reply_facts(reply), **facts})
        return
    for file in facts["files"]:
        out.print(escape(file), soft_wrap=True)
    for change in reply.adjustments:
        err.print(f"note: {escape(str(change))}")
    _print_cost(reply)


def _reply_facts(reply: Response) -> dict[str, Any]:
    facts = {name: getattr(reply, name) for name in ("text", "model", "model_id", "provider", "tier")}
    facts |= {name: getattr(reply, name) for name in ("finish_reason", "cost_usd", "cost_source")}
    facts |= {"latency_ms": reply.latency_ms, "usage": reply.usage.as_dict(), "call_id": reply.call_id}
    facts |= {"fallback_chain": list(reply.fallback_chain), "reason": reply.reason}
    facts["adjustments"] = [adjustment.as_dict() for adjustment in reply.adjustments]
    return facts


def _print_cost(reply: Response) -> None:
    cost = reply.cost_source if reply.cost_usd is None else f"${reply.cost_usd:.6f}"
    err.print(f"{reply.model} · {reply.tier} · {reply.latency_ms:.0f} ms · {escape(cost)}", style="dim")


def _text(given: str) -> str:
    """A text as it was typed, or that of standard input.

    Raises:
        ParamError: its bytes are in another encoding than the shell's.
    """
    encoding = sys.stdin.encoding if given == "-" else sys.getfilesystemencoding()
    try:
        if given != "-":
            given.encode(encoding)  # a byte that cannot be read is kept as half a surrogate pair
            return given
        text = sys.stdin.buffer.read().decode(encoding)
    except UnicodeError as error:
        name, where = encoding.upper(), "standard input" if given == "-" else "the text"
        raise ParamError(
            f"{where} is not {name}; convert it first, for example with `iconv -f SHIFT_JIS -t {name}`"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _route_facts(route: Route) -> dict[str, Any]:
    return {
        "task": route.task,
        "tier": route.tier,
        "candidates": list(route.candidates),
        "reasons": list(route.reasons),
        "excluded": [list(pair) for pair in route.excluded],
        "bodies": {key: dict(body) for key, body in route.bodies.items()},
        "adjustments": {key: [a.as_dict() for a in items] for key, items in route.adjustments.items()},
        "worst_case_s": route.worst_case_s,
        "worst_case_usd": route.worst_case_usd,
    }
