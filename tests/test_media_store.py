"""The files that media sweeps keep: whole, once, and by whoever writes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from llmbench.bench.media_store import store_file, whole_file


def test_a_file_that_many_cells_keep_at_once_is_kept_once(tmp_path):
    at_once = threading.Barrier(8)

    def keep(data: bytes) -> str:
        at_once.wait()
        return store_file(tmp_path / "media", data, ".png")

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            data = b"picture %d" % turn * 100_000
            names = set(pool.map(keep, [data] * 8))
            assert whole_file(tmp_path / "media", *names).read_bytes() == data
    assert len(list((tmp_path / "media").iterdir())) == 10
