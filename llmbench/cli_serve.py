"""`llmbench serve`: an OpenAI-compatible endpoint on this machine, for clients in any language."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from llmbench.cli_output import Configs, err
from llmbench.config.environment import read_environment
from llmbench.errors import ConfigError, LLMBenchError

if TYPE_CHECKING:
    from llmbench.serve.doors import Doors
    from llmbench.serve.server import Settings

#: Where the token is looked for unless said otherwise.
_VARIABLE: Final = "LLMBENCH_SERVE_TOKEN"
_MIB: Final = 2**20
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Characters of a token at least where other machines can try one after the other.
_SHORTEST: Final = 16
_NEW: Final = "`openssl rand -hex 32` makes one"


def serve(
    configs: Configs = Path("configs"),
    host: Annotated[
        str, typer.Option(help="Address to listen at; loopback unless said otherwise.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8700,
    token_env: Annotated[
        str, typer.Option(help="Variable that holds the token; without a value a new token is printed once.")
    ] = _VARIABLE,
    max_body_mb: Annotated[int, typer.Option(min=1, max=1024, help="Largest body, in MiB.")] = 32,
    max_calls: Annotated[int, typer.Option(min=1, help="Calls in flight at the same time.")] = 256,
    grace_s: Annotated[
        float, typer.Option(min=0, help="Seconds for calls in flight once it is told to end.")
    ] = 10.0,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Serve tasks and tiers as the models of an OpenAI-compatible endpoint, until Ctrl-C."""
    try:
        from llmbench.serve.doors import Doors
        from llmbench.serve.server import Settings
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("starlette", "uvicorn", "h11"):
            raise
        raise LLMBenchError(f'serve needs {error.name}: pip install "llmbench[serve]"') from error
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both")
    settings = Settings(host, port, max_body_mb * _MIB, max_calls, grace_s, tls_cert, tls_key)
    token, is_new = _token(token_env, settings)
    if not settings.is_loopback and tls_cert is None:
        err.print(
            f"[bold red]WARNING[/] {escape(host)} can be reached from other machines and the traffic is not "
            "encrypted: give --tls-cert and --tls-key, or put a proxy with TLS before it"
        )
    _run(Doors.open(configs), token, settings, is_new=is_new)


def _run(doors: Doors, token: str, settings: Settings, *, is_new: bool) -> None:
    from llmbench.serve.names import targets
    from llmbench.serve.server import serve as run

    known = list(targets(doors.config))
    tasks = sum(target.tier is None for target in known)

    def ready(address: str) -> None:
        err.print(
            f"serving {tasks} tasks and {len(known) - tasks} tiers at {escape(address)}; Ctrl-C ends it"
        )
        if is_new:
            err.print(f"token of this run: {token}", markup=False, highlight=False)

    run(doors, token, settings, ready)


def _token(name: str, settings: Settings) -> tuple[str, bool]:
    """The token of every request, and whether it is a new one.

    Raises:
        ConfigError: the variable's name is none, the token cannot stand in a header, or other machines can
            connect and it is missing or short enough to be guessed.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--token-env {name!r:.80} is no name of a variable: letters, digits and _, such as {_VARIABLE}"
        )
    token = read_environment().secret(name)
    if token is None:
        if not settings.is_loopback:
            raise ConfigError(
                f"--host {settings.host} can be reached from other machines: set {name} to your own token; "
                f"{_NEW}"
            )
        return secrets.token_urlsafe(32), True
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{name}: a token is printable ASCII without spaces; {_NEW}")
    if len(token) < _SHORTEST and not settings.is_loopback:
        raise ConfigError(
            f"--host {settings.host} can be reached from other machines, and the token in {name} is short "
            f"enough to be guessed: give at least {_SHORTEST} characters; {_NEW}"
        )
    return token, False
