"""The most that a request can cost, as a bound and not an estimate: what a budget holds before it is sent."""

from __future__ import annotations

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.messages import Route
from llmbench.pricing import worst_case_usd
from llmbench.providers.base import json_bytes
from llmbench.routing.client import LLMClient


def most_usd(client: LLMClient, base: str, route: Route) -> float | None:
    """The most that one request of a route to a model can cost, in USD; None when nobody knows.

    The router estimates the tokens of a prompt; dense text has more. A tokenizer that falls back on bytes
    makes no more tokens of a text than it has bytes, so the bytes of the whole body are a bound, schema and
    roles included. What a call really cost is settled when it has ended.
    """
    spec = client.config.models[base]
    endpoint = client.config.endpoints[spec.provider]
    if spec.capabilities.mode != "text":
        return _most_usd_of_media(spec, endpoint, route)
    return worst_case_usd(
        spec,
        endpoint,
        len(json_bytes(route.bodies[base])),
        route.output_limits.get(base),
        deadline_s=route.worst_case_s or client.config.policy.deadline_s,
    )


def _most_usd_of_media(spec: ModelSpec, endpoint: Endpoint, route: Route) -> float | None:
    """Of a picture or a narration: by the unit that its price is for, or the time of this machine's cores.

    Nobody knows how many tokens a picture or a narration becomes, so a price by tokens is no bound.
    """
    if spec.price is None or spec.price.per_core_hour is None:
        return route.worst_case_usd
    return worst_case_usd(spec, endpoint, 0, None, deadline_s=route.worst_case_s or 0.0)
