"""What a dialect of a media provider is: the form of a request for pictures or audio, and of its answer.

Most answers come with the first reply. Some hosts answer with a ticket instead, or with an address: then
`next_step` says what to send next, and `media_send.py` sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.media import MediaAsk
from llmbench.providers.base import HttpReply, Reply


@dataclass(frozen=True, slots=True)
class Step:
    """A further request of one exchange.

    Attributes:
        url: where it goes: an absolute address, a path below the endpoint's base that begins with "/", or a
            path below that of the first request that begins with "./".
        body: JSON to post; None asks for what is at the address.
        wait_s: seconds to wait before it, for a ticket that is not done.
        then: more addresses, read one after the other after this one before the wire is asked again.
        is_waiting: it asks for the state of a ticket: the reply so far only said to wait, and joins `earlier`
            without its body.
    """

    url: str
    body: Mapping[str, Any] | None = None
    wait_s: float = 0.0
    then: tuple[str, ...] = ()
    is_waiting: bool = False


class MediaWire(Protocol):
    """One dialect of media."""

    @property
    def accept(self) -> str:
        """The header of that name."""
        ...

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The URL path below the endpoint's base, its query included.

        Raises:
            ConfigError: the model's API version cannot be written into it.
        """
        ...

    def body(self, spec: ModelSpec, ask: MediaAsk) -> dict[str, Any]:
        """The JSON body of a request.

        Raises:
            ParamError: the ask holds what this dialect has no place for.
        """
        ...

    def next_step(self, reply: HttpReply, sent: Mapping[str, Any]) -> Step | None:
        """What to send before there is an answer, or None when the reply is one.

        `sent` is the body of the first request; the replies before this one are its `earlier`.

        Raises:
            ProviderError: the job failed, or the reply reports an error.
        """
        ...

    def parse(self, reply: HttpReply, sent: Mapping[str, Any]) -> Reply:
        """The answer in the last reply: its `media`, or the `problem` of one that holds none.

        Raises:
            ProviderError: the status is not 2xx, the reply reports an error, or it has no known form.
        """
        ...
