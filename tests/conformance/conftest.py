"""One loopback server and one client of every place for all conformance tests: the SDKs load slowly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.exchange import Exchanges
from tests.servers.chat_server import ChatServer


@pytest.fixture(scope="session")
def exchanges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchanges]:
    with ChatServer() as server:
        opened = Exchanges(server, tmp_path_factory.mktemp("places"))
        yield opened
        opened.close()
