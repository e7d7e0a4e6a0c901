"""Everything a program does with a client, said aloud: a process that a test starts and reads."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import pickle
import sys
import traceback
from pathlib import Path

from rich.console import Console
from rich.traceback import Traceback

from llmbench import LLMClient
from llmbench.config import load_config, read_environment
from llmbench.errors import LLMBenchError
from llmbench.providers.hosts import open_host

MODELS = ("alpha", "beta", "keyed", "google", "token")


def main(root: Path, token: str) -> None:
    """Call, fall back, stream, fail and crash in the folder of a project."""
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    faulthandler.enable()
    config = load_config(root / "configs")
    print(repr(config), str(config), config.endpoints)
    for endpoint in config.endpoints.values():
        host = open_host(endpoint, read_environment())
        print(repr(host), str(host), repr(read_environment()))
    log = root / "workspaces" / "logs" / "program.jsonl"
    last: LLMBenchError | None = None
    with LLMClient(root / "configs", log_path=log, token_providers={"entra": lambda: token}) as client:
        for prompt in ("fine", "refuse me", "refuse in pieces"):
            for model in MODELS:
                last = one_call(client, prompt, model) or last
        print(client.explain("labels", "x"), client.explain("labels", "x")._repr_html_())
        print(repr(client), str(client), vars(client) if hasattr(client, "__dict__") else "")
    assert last is not None
    raise last


def one_call(client: LLMClient, prompt: str, model: str) -> LLMBenchError | None:
    """A call and a stream; what they raise is shown in every way that Python and rich have."""
    failed = None
    for ask in (
        lambda: print(repr(client.call("labels", prompt, models=[model, "beta"], allow_fallback=True))),
        lambda: print("".join(client.stream("labels", prompt, models=[model]))),
    ):
        try:
            ask()
        except LLMBenchError as error:
            failed = error
            print(repr(error), str(error), vars(error), pickle.loads(pickle.dumps(error)))  # noqa: S301 -- our own
            print(traceback.format_exc())
            Console(file=sys.stdout, width=200).print(
                Traceback.from_exception(type(error), error, error.__traceback__)
            )
            with contextlib.suppress(TypeError):
                print(pickle.dumps(error))
            logging.getLogger("program").exception("it failed")
            for attempt in getattr(error, "attempts", ()):
                print(attempt)
    return failed


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
