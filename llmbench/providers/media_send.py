"""One request for pictures or audio: lease a place, post, follow the steps to the answer, price it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import EmbeddedServerError, ErrorKind, ProviderError
from llmbench.messages import Usage
from llmbench.pricing import Made, begin_loading, cost_of, uses_list
from llmbench.providers.base import HttpReply, Reply, Transport, json_bytes, payload_of
from llmbench.providers.hosts import Host, Lease, is_loopback
from llmbench.providers.media_wire import MediaWire, Step
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.rate_limits import rate_left
from llmbench.providers.send import Sent, at_address
from llmbench.providers.waits import retry_after_s

#: More addresses than this to one answer are no answer: a call asks for a hundred pictures at most.
_MOST_DOWNLOADS: Final = 200
#: The least wait before a ticket is asked for again, whatever the host says: the first, its growth, its end.
_LEAST_WAIT_S, _GROWTH, _LEAST_AT_LAST_S = 0.1, 1.5, 2.0
#: Statuses of a further request that are waited out, and kinds of its failure without an answer.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504, 524, 529})
_BROKEN: Final[frozenset[ErrorKind]] = frozenset({"connect", "timeout"})
#: How often one is sent again, and how often for a ticket that is not known; seconds of the first wait at
#: least, its growth, and seconds of any wait at most.
_MOST_MISSED, _MOST_UNKNOWN = 4, 3
_MISSED_WAIT_S, _MISSED_GROWTH, _LONGEST_MISSED_S = 0.2, 2.0, 10.0
#: Characters of an address in an answer at most; what is longer is none.
_MOST_ADDRESS: Final = 16_384


async def send_media(
    spec: ModelSpec,
    endpoint: Endpoint,
    host: Host,
    transport: Transport,
    body: Mapping[str, Any],
    open_reply: Callable[[Reply], tuple[Any, Made]],
    billed: Callable[[Reply], Made] | None = None,
) -> Sent:
    """Send one request and follow it to its answer. The latency is that of the exchange, without the queue.

    Args:
        spec: the model.
        endpoint: its provider's section.
        host: where a place is leased.
        transport: sends.
        body: the request.
        open_reply: decodes the pictures or the audio of an answer, and counts what is billed. It runs in a
            thread. What it returns becomes `parsed`; a ProviderError from it is the answer's problem.
        billed: counts what an answer with a problem is billed by all the same; None where nobody knows.

    Raises:
        ProviderError: no answer came, or what came is none.
    """
    wire = media_wire_for(spec)
    if uses_list(spec, endpoint):
        begin_loading()  # while the host works; the answer's cost finds it loaded
    try:
        async with host.lease(spec) as lease:
            sent_at, started = datetime.now(UTC), time.perf_counter()
            url = lease.base_url + wire.path(spec, at_address(endpoint, lease))
            answer = await _followed(wire, transport, lease, endpoint, url, body)
            latency_ms = (time.perf_counter() - started) * 1000
            lease.rate_left = rate_left(answer.headers)
            reply = wire.parse(answer, body)
    except EmbeddedServerError as error:
        raise ProviderError(str(error), kind="connect") from error
    parsed: Any = None
    made: Made | None = None
    if reply.problem is None:
        try:
            parsed, made = await asyncio.to_thread(open_reply, reply)
        except ProviderError as error:
            reply = replace(reply, problem=error)
    if reply.problem is not None and billed is not None:
        made = billed(reply)
    cost_usd, cost_source = cost_of(
        spec,
        endpoint,
        reply.usage,
        reported_usd=reply.reported_usd,
        cpu_s=lease.cpu_s,
        at=sent_at,
        made=made,
    )
    return Sent(reply, parsed, reply.problem, latency_ms, lease, cost_usd, cost_source)


async def _followed(
    wire: MediaWire,
    transport: Transport,
    lease: Lease,
    endpoint: Endpoint,
    url: str,
    body: Mapping[str, Any],
) -> HttpReply:
    """Post a body and take every further step, until the reply is the answer.

    A ticket may be asked for as long as the call has time; its waits grow, so that it is not asked for often.
    """
    head = {"content-type": "application/json", "accept": wire.accept}
    connect_s = endpoint.timeouts.connect_s
    answer = await transport.post(url, {**head, **lease.headers}, json_bytes(body), connect_s)
    asked = read = 0
    while (step := wire.next_step(answer, body)) is not None:
        if step.body is None:
            read += 1 + len(step.then)
            if read > _MOST_DOWNLOADS:
                message = f"the answer points to more than {_MOST_DOWNLOADS} addresses"
                raise ProviderError(message, kind="malformed", status_code=200)
        else:
            await asyncio.sleep(max(step.wait_s, _least_wait_s(asked)))
            asked += 1
        if step.url.startswith("./"):
            step = replace(step, url=url + step.url[1:])
        for taking in (step, *map(Step, step.then)):
            taken = await _taken_at_last(taking, transport, lease, endpoint, head)
            kept = replace(
                answer, earlier=(), body=b"" if step.is_waiting and answer.earlier else answer.body
            )
            answer = replace(taken, earlier=(*answer.earlier, kept))
    return answer


def _least_wait_s(asked: int) -> float:
    """Seconds at least before a ticket is asked for once more, after `asked` times."""
    return min(_LEAST_WAIT_S * _GROWTH ** min(asked, 20), _LEAST_AT_LAST_S)


async def _taken_at_last(
    step: Step, transport: Transport, lease: Lease, endpoint: Endpoint, head: Mapping[str, str]
) -> HttpReply:
    """One further request, again while it meets a passing failure: what it asks for is made and paid for.

    Raises:
        ProviderError: no answer came; or a ticket met a failure for good. It has the status of an answer, as
            its host may charge for what the ticket stands for.
    """
    missed = 0
    while True:
        met = await _tried(step, transport, lease, endpoint, head)
        asked_s = retry_after_s(met.headers) if isinstance(met, HttpReply) else None
        wait_s = max(step.wait_s if asked_s is None else asked_s, _MISSED_WAIT_S * _MISSED_GROWTH**missed)
        if missed >= _most_missed(step, met) or wait_s > _LONGEST_MISSED_S:
            break
        missed += 1
        await asyncio.sleep(wait_s)
    if isinstance(met, HttpReply):
        if step.is_waiting:
            _check_ticket(met, missed + 1)
        return met
    met.status_code = met.status_code or 200
    raise met


async def _tried(
    step: Step, transport: Transport, lease: Lease, endpoint: Endpoint, head: Mapping[str, str]
) -> HttpReply | ProviderError:
    """One further request: its answer, or why there is none."""
    try:
        return await _taken(step, transport, lease, endpoint, head)
    except ProviderError as error:
        return error


def _most_missed(step: Step, met: HttpReply | ProviderError) -> int:
    """How often a further request that met this is sent again.

    A ticket is not known everywhere as soon as it is given: its 404 counts as the host's own word for that.
    A page in place of its state comes from a gateway before the host.
    """
    if isinstance(met, ProviderError):
        return _MOST_MISSED if met.kind in _BROKEN else 0
    if met.status in _PASSING:
        return _MOST_MISSED
    is_page = 200 <= met.status < 300 and met.body.lstrip()[:1] in (b"", b"<")
    return _MOST_UNKNOWN if step.is_waiting and (met.status == 404 or is_page) else 0


def _check_ticket(met: HttpReply, times: int) -> None:
    """Refuse a failure in place of the state of a ticket, which was asked for so many times.

    Raises:
        ProviderError: it is one.
    """
    if met.status < 300 and met.body.lstrip()[:1] != b"{":
        return  # a picture, or what the wire calls malformed
    try:
        payload_of(met)
    except ProviderError as error:
        error.args = (f"{error} (the ticket was asked for {times} times)",)
        error.kind = "server_error" if met.status == 404 else error.kind
        error.status_code = 200
        raise


async def _taken(
    step: Step, transport: Transport, lease: Lease, endpoint: Endpoint, head: Mapping[str, str]
) -> HttpReply:
    """One further request. The key goes to the provider's own address and nowhere else."""
    url = lease.base_url + step.url if step.url.startswith("/") else step.url
    is_own = url.startswith(f"{lease.base_url}/")
    if not is_own:
        _check_download(url, lease.base_url, endpoint)
    connect_s = endpoint.timeouts.connect_s
    if step.body is not None:
        return await transport.post(
            url, {**head, **(lease.headers if is_own else {})}, json_bytes(step.body), connect_s
        )
    asked = {"accept": "*/*", **(lease.headers if is_own else {})}
    return await transport.get(url, asked, connect_s)


def _check_download(url: str, base_url: str, endpoint: Endpoint) -> None:
    """Refuse an address in an answer that leads to a host that nobody named: it may be inside our network.

    Raises:
        ProviderError: kind malformed.
    """
    is_plain = url.isascii() and url.isprintable() and not {" ", "\\"} & set(url)
    try:
        parts, base = urlsplit(url if is_plain else ""), urlsplit(base_url)
        host, own, _ = parts.hostname or "", base.hostname or "", parts.port  # a port may be none
    except ValueError:
        parts, host, own = urlsplit(""), "", ""
    named = {name.casefold() for name in endpoint.allow_hosts}
    is_local = is_loopback(host) and is_loopback(own)
    is_known = is_local or (parts.scheme == "https" and (host == own or host in named))
    if is_known and "@" not in parts.netloc and len(url) <= _MOST_ADDRESS:
        return
    message = (
        f"the answer points to {parts.scheme or '?'}://{host or '?'}, which is not the provider's host; "
    )
    message += f"name it in allow_hosts of provider {endpoint.name!r} to read from there"
    raise ProviderError(message, kind="malformed", status_code=200)


def merged(sents: Sequence[Sent], parsed: Any) -> Sent:
    """Several answers to one call as one: tokens and money added up, `parsed` in place of theirs.

    The latency is the longest, as they were sent at once.
    """
    first = sents[0].reply
    unknown = next((sent.cost_source for sent in sents if sent.cost_usd is None), None)
    reply = replace(
        first,
        usage=total_usage(sent.reply.usage for sent in sents),
        media=(),
        problem=next((sent.problem for sent in sents if sent.problem is not None), None),
    )
    cpu_s = [sent.lease.cpu_s for sent in sents if sent.lease.cpu_s is not None]
    queued_ms = max(sent.lease.queued_ms for sent in sents)
    return Sent(
        reply=reply,
        parsed=parsed,
        problem=reply.problem,
        latency_ms=max(sent.latency_ms for sent in sents),
        lease=replace(
            sents[0].lease, queued_ms=queued_ms, cpu_s=sum(cpu_s) if len(cpu_s) == len(sents) else None
        ),
        cost_usd=None if unknown else sum(sent.cost_usd or 0.0 for sent in sents),
        cost_source=unknown or sents[0].cost_source,
    )


def total_usage(usages: Iterable[Usage]) -> Usage:
    """Tokens of several answers together."""
    counts = [(u.input_tokens, u.output_tokens, u.cached_tokens, u.reasoning_tokens) for u in usages]
    return Usage(*map(sum, zip(*counts, strict=True)))
