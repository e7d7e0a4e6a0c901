"""Logs of strangers: what would fill the memory or is broken is refused by name."""

from __future__ import annotations

import json
import struct
import zipfile

import pytest

pytest.importorskip("inspect_ai", reason='Inspect is not installed: pip install "llmbench[inspect]"')

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from llmbench.errors import DatasetError
from llmbench.interop import inspect_files
from llmbench.interop.inspect_results import import_results
from llmbench.interop.nesting import Nesting
from tests.inspect_logs import rows_of, sample, write_log


def refused(tmp_path, path, said):
    with pytest.raises(DatasetError, match=said) as caught:
        rows_of(tmp_path, path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "table.jsonl").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_files, "MAX_MEMBER_BYTES", 2**20)
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("header.json", b" " * (2**20 + 1))
    refused(tmp_path, path, "'header.json' unpacks to more than 1 MiB")


def test_many_members_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_files, "MAX_TOTAL_BYTES", 2**20)
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"samples/{number}.json", b" " * 2**19)
    refused(tmp_path, path, "unpacks to more than")


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    path = write_log(tmp_path / "a.eval", [sample()])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the uncompressed size in the last entry of the directory
    struct.pack_into("<I", data, at, 1)
    path.write_bytes(data)
    refused(tmp_path, path, "says 1")


def test_one_text_of_a_hundred_megabytes_is_refused(tmp_path):
    path = tmp_path / "long.json"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)  # a sparse file: it takes no room
    refused(tmp_path, path, "100 MiB as one text, over 64 MiB; `inspect log convert --to eval`")


@pytest.mark.parametrize("suffix", [".eval", ".json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nope",
        b"{}",
        b"[]",
        b'{"version": 2, "eval": 3}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"PK\x05\x06" + bytes(18),
    ],
    ids=["empty", "text", "object", "list", "wrong", "deep", "bytes", "no members"],
)
def test_what_is_no_log_is_named_with_what_to_do(tmp_path, suffix, data):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(data)
    refused(tmp_path, path, "is no whole log of Inspect")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("whole") / "a.eval", [sample()]).read_bytes()


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 255))
@examples(max_examples=60)
def test_a_log_that_was_damaged_anywhere_is_read_or_refused(tmp_path_factory, whole, place, change):
    folder = tmp_path_factory.mktemp("damaged")
    at = int(place * len(whole))
    damaged = whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :] if change else whole[:at]
    (folder / "a.eval").write_bytes(damaged)
    try:
        import_results([folder / "a.eval"], folder / "table.jsonl")
    except DatasetError as error:
        said = str(error)
    else:
        said = "a.eval"
    assert "a.eval" in said


def plain_depth(text):
    """The depth of whole JSON, by a parser."""

    def depth(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    return depth(json.loads(text))


@given(
    st.recursive(
        st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
    st.integers(1, 9),
)
@examples(max_examples=50)
def test_the_depth_of_a_text_in_pieces_is_that_of_its_value(value, size):
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    nesting = Nesting()
    for start in range(0, len(text), size):
        nesting.add(text[start : start + size])
    assert nesting.deepest == plain_depth(text.decode("utf-8", "surrogatepass"))


@pytest.mark.timeout(20)
def test_a_member_that_is_nested_without_end_is_refused_at_once(tmp_path):
    path = write_log(tmp_path / "a.eval", [sample()])
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, b"[" * 10_000_000 if name.startswith("samples/") else content)
    refused(tmp_path, path, "nested over 200 levels deep")


def test_files_that_are_no_logs_are_named(tmp_path):
    refused(tmp_path, tmp_path / "lost.eval", "no such file or folder; name a log")
    (tmp_path / "log.txt").write_text("x")
    refused(tmp_path, tmp_path / "log.txt", "ends in .eval or .json")
    (tmp_path / "empty").mkdir()
    refused(tmp_path, tmp_path / "empty", "no .eval file in this folder")
