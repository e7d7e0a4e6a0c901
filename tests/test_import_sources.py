"""What an import reads: forms of files, times and paths, and mapping files with their mistakes."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from llmbench.errors import ConfigError, DatasetError
from llmbench.interop.conversions import Unmapped, as_time, convert, iso_utc, value_at
from llmbench.interop.importers import import_log, line_of, load_mapping
from llmbench.interop.mapping import shipped
from llmbench.interop.sources import Broken, Row, read_rows

# ---- forms of files -------------------------------------------------------------------------------------


ROWS = [{"id": str(number), "text": "行\n" * number, "n": number} for number in range(400)]
FORMS = {
    "lines": "".join(json.dumps(row) + "\n" for row in ROWS),
    "array": json.dumps(ROWS, ensure_ascii=False),
    "pretty": json.dumps(ROWS, indent=2),
    "page": json.dumps({"meta": {"total": 1}, "data": ROWS, "next": [1]}, indent=1),
    "one-line page": json.dumps({"data": ROWS, "meta": {}}),
    "pages a line": "".join(json.dumps({"data": ROWS[at : at + 90]}) + "\n" for at in range(0, 400, 90)),
    "objects over many lines": "\n".join(json.dumps(row, indent=1) for row in ROWS),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_every_form_of_json_gives_the_same_rows(tmp_path, form, encoding, packed):
    data = FORMS[form].encode(encoding)
    path = tmp_path / "export"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert [row.values for row in read_rows(path) if isinstance(row, Row)] == ROWS


def test_a_broken_array_gives_what_stands_before_the_break_and_says_so(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(FORMS["array"][:110_000], encoding="utf-8")
    *before, last = read_rows(path)
    assert [row.values for row in before] == ROWS[: len(before)]
    assert len(before) > 100
    assert last == Broken(len(before) + 1, "not JSON from here on; the rest of the file is not read", True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n\n", []),
        ("[]", []),
        ('{"data": []}', []),
        ("[1, {}]", [Broken(1, "not a JSON object"), Row(2, {})]),
        ('{"a": 1}\n{broken\n{"a": 2}', [Row(1, {"a": 1}), Broken(2, "not a JSON object"), Row(3, {"a": 2})]),
        (
            "a;b\n1;2\n\n3\n",
            [Row(2, {"a": "1", "b": "2"}), Broken(4, "another number of cells than the header")],
        ),
        ('a,b\n"1\n2",x\n', [Row(2, {"a": "1\n2", "b": "x"})]),
        ("[" * 100_000, [Broken(1, "not JSON from here on; the rest of the file is not read", True)]),
    ],
)
def test_small_and_broken_files_are_read_as_far_as_they_go(tmp_path, text, found):
    path = tmp_path / "export"
    path.write_text(text, encoding="utf-8")
    assert list(read_rows(path)) == found


@pytest.mark.parametrize(
    "torn",
    [
        'x", "model": "m"}',
        '{"id": "q", "mod',
        '{"id":',
        '{"id": [',
        '{"id": 1,',
        "12}",
        '"model": "m"}',
        "}",
        "m,n",
        "[1]}",
        '[{"a": 1}], "model": "m"}',
        '{"a": 1}, "model": "m"}',
        '{"a": 1}, {"a": 2}], "model": "m"}',
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_torn_first_line_of_a_rotated_log_costs_one_row(tmp_path, torn, packed):
    data = (torn + '\n{"id": 1, "n": "字"}\n\n{"id": 2}\n{"id": \n{"id": 3}\n').encode()
    path = tmp_path / "export"
    path.write_bytes(gzip.compress(data) if packed else data)
    broken = "not a JSON object"
    assert list(read_rows(path)) == [
        Broken(1, broken),
        Row(2, {"id": 1, "n": "字"}),
        Row(4, {"id": 2}),
        Broken(5, broken),
        Row(6, {"id": 3}),
    ]


@pytest.mark.parametrize("cut", range(1, 24))
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_log_may_begin_within_any_byte_of_its_first_row(tmp_path, cut, packed):
    data = '{"t": "字🌸", "n": [1]}\n'.encode()[cut:] + '{"id": 1, "n": "字"}\n{"id": 2}\n'.encode()
    path = tmp_path / "export"
    path.write_bytes(gzip.compress(data) if packed else data)
    rows = [each.values for each in read_rows(path) if isinstance(each, Row)]
    assert rows == [{"id": 1, "n": "字"}, {"id": 2}]


@pytest.mark.parametrize(
    "text",
    [
        '{\n"data": [\n{"id": 1},\n{"id": 2}\n]\n}\n',
        '{"data":\n[\n{"id": 1}\n,{"id": 2}\n]}\n',
        '[\n{"id": 1}\n,\n{"id": 2}\n]\n',
        '{\n"id": 1\n}\n{"id": 2}\n',
    ],
)
def test_a_whole_object_on_a_line_within_another_value_makes_no_lines_of_it(tmp_path, text):
    (tmp_path / "export").write_text(text, encoding="utf-8")
    assert [each.values for each in read_rows(tmp_path / "export")] == [{"id": 1}, {"id": 2}]


def test_a_line_of_braces_within_a_cell_makes_no_json_of_a_table(tmp_path):
    (tmp_path / "export").write_text('id,text\n1,"\n{}\n"\n', encoding="utf-8")
    assert list(read_rows(tmp_path / "export")) == [Row(2, {"id": "1", "text": "\n{}\n"})]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xffa,b\n", "not UTF-8"),
        (b"just a text", "neither JSON nor CSV with a header"),
        (b"a,b,a\n1,2,3\n", "the column 'a' is there twice"),
        (gzip.compress(FORMS["array"].encode())[:500], "gzip file is cut off"),
    ],
)
def test_a_file_that_is_no_export_is_an_error_that_names_it(tmp_path, data, said):
    path = tmp_path / "export"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DatasetError, match=said) as caught:
        import_log(path, load_mapping("litellm"), tmp_path / "log.jsonl")
    assert str(path) in str(caught.value)


def test_a_log_is_not_imported_into_itself(tmp_path):
    with pytest.raises(DatasetError, match="is the log to write to"):
        import_log(tmp_path / "a.jsonl", load_mapping("litellm"), tmp_path / "a.jsonl")


@pytest.mark.parametrize("before", range(65_500, 65_540))
def test_a_number_is_whole_wherever_the_pieces_of_a_file_end(tmp_path, before):
    path = tmp_path / "export"
    head = '{\n"pad": "'
    path.write_text(f'{head}{"x" * (before - len(head))}", "n": 123456789}}', encoding="utf-8")
    assert [row.values["n"] for row in read_rows(path)] == [123456789]


# ---- conversions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("2026-11-22T09:00:00", "2026-11-22T09:00:00.000Z"),
        ("2026-11-22 09:00:00.123456", "2026-11-22T09:00:00.123Z"),
        ("2026-11-22T18:00:00+09:00", "2026-11-22T09:00:00.000Z"),
        ('"2026-11-22T09:00:00.5Z"', "2026-11-22T09:00:00.500Z"),
        (1795338000, "2026-11-22T09:00:00.000Z"),
        ("1795338000.25", "2026-11-22T09:00:00.250Z"),
        (1795338000123, "2026-11-22T09:00:00.123Z"),
        (1795338000123456, "2026-11-22T09:00:00.123Z"),
        (1795338000123456789, "2026-11-22T09:00:00.123Z"),
    ],
)
def test_times_of_every_form_are_read_as_utc(value, utc):
    assert iso_utc(as_time(value, "t")) == utc


@pytest.mark.parametrize("value", ["2026-11-22", "soon", 0, 12, True, [], "nan", "9999-01-01T00:00", 1e300])
def test_what_is_no_moment_is_no_time(value):
    with pytest.raises(Unmapped, match="no time"):
        as_time(value, "t")


@pytest.mark.parametrize(
    ("value", "how", "kind"),
    [
        (-1, "integer", "a negative number"),
        ("-0.5", "seconds_to_ms", "a negative number"),
        ("1e999", "number", "not a number"),
        (True, "number", "not a number"),
        ("1,000", "integer", "not a number"),
        (12.5, "integer", "not a whole number"),
        (1e19, "integer", "not a whole number"),
        ([], "text", "not a name"),
    ],
)
def test_what_is_no_value_of_its_kind_is_refused(value, how, kind):
    with pytest.raises(Unmapped) as caught:
        convert(value, how, "p")
    assert caught.value.kind == kind


def test_a_path_leads_through_objects_lists_texts_of_json_and_keys_with_dots():
    row = {"a.b": 1, "a": {"b": 2, "c": '{"d": [{"e": 3}]}', "gen_ai.model": 4}, "t": "{no json"}
    paths = ["a.b", "a.c.d.0.e", "a.gen_ai.model", "a.c.d.1.e", "a.x.y", "t.a"]
    assert [value_at(row, path) for path in paths] == [1, 3, 4, None, None, None]


# ---- mapping files --------------------------------------------------------------------------------------


OWN = """\
name: mytool
words:
  ends: {done: stop, cut: length}
failure:
  - {when: outcome, is: [BAD], kind: timeout}
fields:
  call_id: key
  timestamp: at
  model: who
  task: meta.kind
  latency_ms: {path: seconds, convert: seconds_to_ms}
  finish_reason: {path: end, words: ends}
"""
ROW = {"key": 7, "at": 1795338000, "who": "m", "meta": {"kind": "説明"}, "seconds": "1.5", "end": "DONE"}


def own(tmp_path, *changes):
    text = OWN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_mapping_file_of_ones_own_works_like_a_shipped_one(tmp_path):
    mapping = load_mapping(own(tmp_path))
    line, notices = line_of(ROW, mapping)
    wanted = {"call_id": "mytool:7", "task": "説明", "latency_ms": 1500.0, "finish_reason": "stop"}
    assert wanted.items() <= line.items()
    assert notices == []
    assert line_of({**ROW, "outcome": "bad"}, mapping)[0]["error_kind"] == "timeout"
    assert line_of({**ROW, "end": "why"}, mapping)[1] == ["finish_reason left out: unknown word 'why'"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("  task:", "  taks:", 10, "unknown key `fields.taks`; did you mean 'task'?"),
        ("failure:", "failures:", 4, "unknown key `failures`; did you mean 'failure'?"),
        (
            "convert: sec",
            "convrt: sec",
            11,
            "`fields.latency_ms.0.convrt`; did you mean 'convert'?",
        ),
        ("kind: timeout", "knd: timeout", 5, "unknown key `failure.0.knd`; did you mean 'kind'?"),
        ("is: [BAD], ", "iss: [BAD], ", 5, "unknown key `failure.0.iss`; did you mean 'is'?"),
        ("kind: timeout", "kind: slow", 5, "`failure.0.kind`: Input should be 'connect', 'timeout'"),
        ("words: ends", "words: end", 12, "no table `end` under words; did you mean 'ends'?"),
        ("cut: length", "cut: lenght", 3, "finish_reason has no 'lenght'; did you mean 'length'?"),
        ("path: end, ", "path: end, add: [a, b], ", 12, "give exactly one of path, add and between"),
        ("seconds_to_ms", "seconds", 11, "`fields.latency_ms.0.convert`: Input should be 'text'"),
        ("  call_id: key\n", "", 6, "the key `fields.call_id` is missing"),
        ("name: mytool", "name: My Tool", 1, "`name`: String should match pattern"),
        ("name: mytool", "name: [", 3, "not valid YAML"),
    ],
)
def test_a_mistake_in_a_mapping_file_names_file_line_and_key(tmp_path, old, new, line, said):
    path = own(tmp_path, (old, new))
    with pytest.raises(ConfigError) as caught:
        load_mapping(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_a_misspelt_format_and_a_file_that_is_not_there_are_said(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("no format 'litelm'; did you mean 'litellm'")):
        load_mapping("litelm")
    with pytest.raises(ConfigError, match=re.escape("none.yaml: cannot be read")):
        load_mapping(tmp_path / "none.yaml")
    assert [load_mapping(name).name for name in shipped()] == ["langfuse", "litellm", "openrouter"]
