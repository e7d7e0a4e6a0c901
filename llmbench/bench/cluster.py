"""A sweep whose calls are made on the nodes of a Dask cluster.

All that must be one stays in the sweep's own process: the lanes, each provider's limits, the budget, the
ledger. A node only makes calls. Each candidate has its node, where its connections and circuits are; local
models, and hosts that were given in code, are asked in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from llmbench.bench.asking import Outcome, Question, ask
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient

Ask = Callable[[LLMClient, Question], Awaitable[Outcome]]

_SCHEMES: Final = ("tcp", "tls", "ws", "wss", "ucx")
#: Variables that change a request or its telemetry line. They hold on the nodes as they do here: the cells'
#: fingerprints were worked out with them.
STEERING: Final = (
    "LLM_ALLOW_FALLBACK",
    "LLM_CHANNEL",
    "LLM_ENV",
    "LLM_FORCE_MODELS",
    "LLM_FORCE_TASK_MODELS_JSON",
    "LLM_MODEL_SLOT",
    "LLM_ROUTER_LOG_CONTENT",
    "LLM_ROUTING_KEY",
)


def check_engine(engine: str | None, *, is_replay: bool = False) -> None:
    """Refuse an engine that cannot work, before anything is prepared for it.

    Raises:
        SweepError: it is no address of a scheduler, the extra is not installed, or nothing would be sent.
    """
    if not engine:
        return
    if is_replay:
        raise SweepError("a replay sends nothing, so it needs no cluster: leave out the engine or the replay")
    address = urlsplit(engine)
    if address.scheme not in _SCHEMES or not address.netloc:
        raise SweepError(
            f"the engine {engine!r} is no scheduler's address; write it as `dask scheduler` shows it: "
            "tcp://HOST:8786"
        )
    if find_spec("distributed") is None:
        raise SweepError('a cluster needs the package distributed: pip install "llmbench[dask]"')


def refuse_cluster(engine: str | None) -> None:
    """Refuse a cluster for pictures and narrations: their files are kept on the machine that makes the calls.

    Raises:
        SweepError: an engine is named.
    """
    if engine:
        raise SweepError(
            f"pictures and narrations are made in the sweep's own process, not on the cluster {engine!r}: "
            "their files are kept beside its ledger; leave out the engine"
        )


@asynccontextmanager
async def opened_engine(
    engine: str | None, client: LLMClient, models: Iterable[str], note: Callable[[str], None]
) -> AsyncIterator[Ask]:
    """What makes the calls of a sweep: this process, or the nodes of a cluster while the block runs.

    Args:
        engine: the scheduler's address; this process if None or empty.
        client: the router; telemetry of calls made elsewhere goes to its log too.
        models: registry keys of the models that may be called.
        note: told in a sentence of nodes that were lost.

    Raises:
        SweepError: there is no scheduler or no node, or a node cannot make the calls.
    """
    check_engine(engine)
    if not engine:
        yield ask
        return
    from distributed import Client

    from llmbench.bench.cluster_calls import CONNECT_S, Cluster, brief
    from llmbench.bench.cluster_node import Terms

    try:
        dask = await Client(  # type: ignore[no-untyped-call]
            engine, asynchronous=True, set_as_default=False, timeout=CONNECT_S
        )
    except (OSError, ValueError) as error:
        raise SweepError(
            f"no Dask scheduler answers at {engine}: {brief(error)}; start one with `dask scheduler`"
        ) from error
    away = [key for key in models if _is_asked_elsewhere(client, key)]
    cluster = Cluster(engine, dask, client, Terms(client.config, _steering(client), tuple(away)))
    try:
        await cluster.start()
        yield cluster.ask
    finally:
        await cluster.close()
        for text in cluster.notices():
            note(text)


def _is_asked_elsewhere(client: LLMClient, key: str) -> bool:
    """Whether a node can open a model's host from the config as we did."""
    from llmbench.providers.hosts import RemoteHost

    return isinstance(client.router.setup().hosts.get(client.config.models[key].provider), RemoteHost)


def _steering(client: LLMClient) -> dict[str, str]:
    """Our variables that change a request or its line; empty ones too, which hide what a node has."""
    return {name: client.router.environment.variables.get(name, "") for name in STEERING}
