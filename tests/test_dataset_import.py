"""Files of people and other tools become datasets that load; what is left out is named with its line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.bench.card import read_row, schema_error
from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.draft import files_of, write_dataset
from llmbench.bench.datasets.imports import Import, guess_format, import_file
from llmbench.bench.datasets.tables import Record, Skipped, decode_csv, read_csv_records
from llmbench.bench.scorers import check_dataset
from llmbench.cli import app
from llmbench.errors import DatasetError

ROW = {"cluster": "c", "input": "i", "target": None}


def file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(*records):
    return "".join(
        (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) + "\n" for one in records
    )


def made(path, tmp_path, **wanted):
    """What the file became, written and loaded again."""
    imported = import_file(path, Import(**{"name": "x", "task": "t", **wanted}))
    return imported, write_dataset(imported.draft, tmp_path / "out")


CSV = """id,question,answer,doc,lang
007,"How many ""cats"", in all?",3,d1,en
008,猫は
何匹？,4,d1,ja
009,Short,,d2,en
010,too,few
010,Dogs?,5,d2,en
"""


def test_csv_keeps_texts_as_they_are_and_names_each_line_left_out(tmp_path):
    text = CSV.replace("猫は\n何匹？", '"猫は\n何匹？"')
    imported, dataset = made(file(tmp_path, "a.csv", text), tmp_path, columns={"cluster": "doc"}, lang="lang")
    assert [(s.id, s.input, s.target, s.cluster, s.lang) for s in dataset.samples] == [
        ("007", 'How many "cats", in all?', "3", "d1", "en"),
        ("008", "猫は\n何匹？", "4", "d1", "ja"),
        ("010", "Dogs?", "5", "d2", "en"),
    ]
    assert [(one.line, one.reason) for one in imported.skipped] == [
        (5, "no target"),
        (6, "3 fields under a header of 5"),
    ]
    check_dataset(dataset)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_csv_is_read_in_the_encodings_that_spreadsheets_write(tmp_path, encoding):
    path = file(tmp_path, "a.csv", "prompt;target\n雪国の窓;窓\n表示能力;ソ\n".encode(encoding))
    _, dataset = made(path, tmp_path)
    assert [(s.input, s.target) for s in dataset.samples] == [("雪国の窓", "窓"), ("表示能力", "ソ")]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("prompt,target\n\xff\xfd\x81".encode("latin-1"), "a.csv: not UTF-8, nor Shift_JIS"),
        ('prompt,target\n"open,3\n', "a.csv:2: not CSV (unexpected end of data); correct the quotes"),
        ("a,a\n1,2\n", "a.csv:1: the column `a` is there twice; rename one"),
        ("x,y\n1,2\n", "a.csv:2: which column is the prompt? name it by --input (`x`, `y`)"),
        ("prompt,target\n", "a.csv: no line of it can be a row"),
        ("", "a.csv: is empty"),
        ('[{"prompt": 1}]\n', "a.csv:1: a JSON array; write one object a line"),
        ('{\n"prompt": 1}\n', "a.csv:1: JSON, but not one object a line"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path, content, wanted):
    with pytest.raises(DatasetError) as caught:
        made(file(tmp_path, "a.csv", content), tmp_path)
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert said.startswith(wanted)
    assert "\n" not in said


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    path = file(tmp_path, "a.jsonl", jsonl({"prompt": "a", "gold": "b"}))
    with pytest.raises(
        DatasetError, match=r"a\.jsonl:1: no column `good` for --target; there are `prompt`, `gold`"
    ):
        made(path, tmp_path, columns={"target": "good"})


def test_jsonl_keeps_objects_as_targets_and_says_what_is_wrong_with_the_rest(tmp_path):
    path = file(
        tmp_path,
        "a.jsonl",
        jsonl(
            {"prompt": "One cat.", "target": {"n": 1}, "id": "a"},
            "{broken",
            {"prompt": "Two cats.", "target": {"n": "two"}, "id": "b"},
            {"prompt": "二匹の猫。", "target": {"n": 2}, "id": "a"},
            {"prompt": "one  ＣＡＴ", "target": {"n": 1}, "id": "c"},
            {"prompt": "三匹の猫。", "target": {"n": 3}, "id": "d"},
            '{"prompt": "\\ud800", "target": {"n": 3}, "id": "e"}',
        ),
    )
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    imported, dataset = made(path, tmp_path, output_schema=schema)
    assert [(s.id, s.lang, s.target) for s in dataset.samples] == [
        ("a", "en", {"n": 1}),
        ("d", "ja", {"n": 3}),
    ]
    reasons = {one.line: one.reason for one in imported.skipped}
    assert sorted(reasons) == [2, 3, 4, 5, 7]
    assert "breaks the schema" in reasons[3]
    assert reasons[4] == "id `a` is on line 1 already"
    assert reasons[5] == "the same prompt and target as line 1"
    assert dataset.scorer.name == "fields"
    check_dataset(dataset)


def test_one_text_in_two_clusters_is_left_out_so_that_the_dataset_loads(tmp_path):
    path = file(tmp_path, "a.csv", "prompt,target,source\nA cat,1,x\nA cat.,2,y\nA dog,3,y\n")
    imported, dataset = made(path, tmp_path)
    assert [s.cluster for s in dataset.samples] == ["x", "y"]
    assert imported.skipped[0].reason == "the text of line 2, but in cluster `y`, not `x`"


def test_parquet_keeps_texts_numbers_and_lists(tmp_path):
    import duckdb

    path = tmp_path / "a.parquet"
    values = "(values ('007', 'A cat?', 1, 5), ('008', '猫？', 2, 6))"
    rows = duckdb.connect().sql(f"select * from {values} t(id, prompt, target, source)")  # noqa: S608
    rows.write_parquet(str(path))
    _, dataset = made(path, tmp_path)
    assert [(s.id, s.input, s.target, s.cluster) for s in dataset.samples] == [
        ("007", "A cat?", 1, "5"),
        ("008", "猫？", 2, "6"),
    ]
    assert dataset.scorer.name == "numeric"
    with pytest.raises(DatasetError, match="not a Parquet file"):
        made(file(tmp_path, "b.parquet", b"PAR1 nothing"), tmp_path)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def test_the_last_answer_of_a_fine_tuning_file_is_the_target(tmp_path):
    system = turn("system", "Be brief.")
    path = file(
        tmp_path,
        "ft.jsonl",
        jsonl(
            {
                "messages": [system, turn("user", "Hi"), turn("assistant", "Hello", weight=1)],
                "tools": [{"type": "x"}],
            },
            {
                "messages": [
                    system,
                    turn("user", "猫？"),
                    turn("assistant", "犬", weight=0),
                    turn("user", "本当？"),
                    turn("assistant", "猫"),
                ]
            },
            {"messages": [system, turn("user", "Hi there")]},
            {"messages": [system, turn("user", "Call"), {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        ),
    )
    imported, dataset = made(path, tmp_path)
    assert imported.draft.source["format"] == "openai-finetune"
    assert [(s.input, s.target) for s in dataset.samples] == [("Hi", "Hello"), ("本当？", "猫")]
    assert dataset.messages(dataset.samples[1]) == [
        system,
        turn("user", "猫？"),
        turn("assistant", "犬"),
        turn("user", "本当？"),
    ]
    assert [one.line for one in imported.skipped] == [3, 4]
    assert imported.skipped[1].reason == "the answer calls a tool"
    assert "`tools` of 1 lines is not kept: a dataset has no such field" in imported.notices
    check_dataset(dataset)


def test_one_system_text_for_all_stands_on_the_card_and_not_in_the_rows(tmp_path):
    rows = [
        {"messages": [turn("system", "Sum up."), turn("user", t), turn("assistant", "ok")]} for t in "abc"
    ]
    imported, dataset = made(file(tmp_path, "ft.jsonl", jsonl(*rows)), tmp_path)
    assert dataset.prompt.system == "Sum up."
    assert all("turns" not in row for row in imported.draft.rows)


def batch(name, content, **body):
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [turn("user", content)], **body},
    }


def reply(name, content, status=200):
    return {
        "custom_id": name,
        "response": {"status_code": status, "body": {"choices": [{"message": turn("assistant", content)}]}},
    }


def test_a_batch_is_joined_with_its_answers_by_custom_id(tmp_path):
    asked = [
        batch("r1", "A cat?", max_completion_tokens=40, temperature=0),
        batch("r2", "猫？", max_tokens=30, temperature=0),
    ]
    asked += [
        batch("r3", "Lost?"),
        batch("r4", "Failed?"),
        {"custom_id": "r5", "body": {"input": "Dog?", "instructions": "Hm"}},
    ]
    told = [reply("r2", "はい"), reply("r1", "Yes"), reply("r4", "no", status=500)]
    said = {"type": "message", "content": [{"type": "output_text", "text": "Woof"}]}
    body = {"output": [{"type": "reasoning"}, said]}
    told.append({"custom_id": "r5", "response": {"status_code": 200, "body": body}})
    answers = file(tmp_path, "out.jsonl", jsonl(*told))
    imported, dataset = made(file(tmp_path, "in.jsonl", jsonl(*asked)), tmp_path, answers=answers)
    assert [(s.id, s.target) for s in dataset.samples] == [("r1", "Yes"), ("r2", "はい"), ("r5", "Woof")]
    assert [(one.line, one.reason) for one in imported.skipped] == [
        (3, "no answer to `r3`"),
        (4, "no answer to `r4` (the request failed)"),
    ]
    assert dataset.options["max_tokens"] == 40
    assert "no person checked them" in dataset.description


def test_a_batch_without_answers_has_no_targets_and_loads(tmp_path):
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    asked = [
        batch(f"r{n}", f"Number {n}?", response_format=wanted, temperature=0.5, seed=3) for n in range(3)
    ]
    imported, dataset = made(file(tmp_path, "in.jsonl", jsonl(*asked)), tmp_path)
    assert [s.target for s in dataset.samples] == [None] * 3
    assert (dataset.output_schema, dataset.options["temperature"]) == (schema, 0.5)
    assert "`seed` of 3 lines is not kept: a dataset has no such field" in imported.notices


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("prompt,target\na,b\n", "csv"),
        ('\n{"prompt": "a"}\n', "jsonl"),
        ('{"messages": [{"role": "user", "content": "a"}]}\n', "jsonl"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}\n', "openai-finetune"),
        ('{"custom_id": "a", "body": {}}\n', "openai-batch"),
        (b"PAR1....", "parquet"),
    ],
)
def test_the_format_is_seen_from_the_content(tmp_path, content, wanted):
    assert guess_format(file(tmp_path, "file", content)) == wanted


@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8),
            min_size=2,
            max_size=2,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_a_csv_writer_wrote_is_read_back(tmp_path_factory, rows):
    import csv

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    found = list(read_csv_records(path, decode_csv(path, "utf-8")))
    assert [[one.values["a"], one.values["b"]] for one in found if isinstance(one, Record)] == rows
    assert not [one for one in found if isinstance(one, Skipped)]


def test_a_mark_before_the_first_line_of_jsonl_costs_no_sample(tmp_path):
    text = jsonl({"prompt": "a", "target": "1"}, {"prompt": "b", "target": "2"})
    imported, _ = made(file(tmp_path, "a.jsonl", text.encode("utf-8-sig")), tmp_path)
    assert (len(imported.draft.rows), imported.skipped) == (2, ())


@pytest.mark.parametrize("ref", ["https://example.invalid/s.json", "other.json", "#/$defs/none"])
def test_a_schema_that_refers_to_something_else_is_refused_in_one_line_and_scores_nothing(tmp_path, ref):
    schema = {"type": "object", "properties": {"n": {"$ref": ref}}}
    path = file(tmp_path, "a.jsonl", jsonl({"prompt": "a", "target": {"n": 1}}))
    with pytest.raises(DatasetError, match="points to nothing in it") as caught:
        made(path, tmp_path, output_schema=schema)
    assert "\n" not in str(caught.value)
    named = file(tmp_path, "s.json", json.dumps(schema))
    base = ["dataset", "import", str(path), "--name", "x", "--task", "t", "--datasets", str(tmp_path)]
    done = CliRunner().invoke(app, [*base, "--schema", str(named)])
    assert (done.exit_code, "s.json: $ref" in done.output.replace("\n", "")) == (1, True)
    assert "points to nothing" in schema_error({"n": 1}, schema)
    assert schema_error([], {"$ref": "#"}) is not None
    inside = {"$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/n"}}}
    made(path, tmp_path, output_schema=inside)


def test_an_unknown_scorer_is_refused_before_anything_is_written(tmp_path):
    path = file(tmp_path, "a.csv", "prompt,target\na,1\n")
    base = ["dataset", "import", str(path), "--name", "x", "--task", "t", "--datasets", str(tmp_path)]
    done = CliRunner().invoke(app, [*base, "--scorer", "exakt"])
    assert (done.exit_code, "exakt" in done.output, (tmp_path / "x").exists()) == (1, True, False)


def test_an_id_with_a_control_character_is_left_out_and_never_reaches_the_terminal(tmp_path):
    rows = [{"prompt": "a", "target": "1", "id": "\x1b[2J"}, {"prompt": "b", "target": "2", "id": "b"}]
    path = file(tmp_path, "a.jsonl", jsonl(*rows, {"prompt": "c", "target": "3", "id": "b"}))
    base = ["dataset", "import", str(path), "--name", "x", "--task", "t", "--datasets", str(tmp_path)]
    done = CliRunner().invoke(app, base)
    assert done.exit_code == 0, done.output
    assert "the id has a control character" in done.output.replace("\n", " ")
    assert "\x1b" not in done.output
    data = tmp_path / "data.jsonl"
    with pytest.raises(DatasetError, match="holds a control character"):
        read_row(data, 1, json.dumps({"id": "a\x1b", "lang": "en"} | ROW).encode())


def test_an_import_is_the_same_every_time(tmp_path):
    path = file(tmp_path, "a.csv", "prompt,target\nA cat,1\n猫,2\n")
    first = import_file(path, Import("x", "t"))
    assert files_of(first.draft) == files_of(import_file(path, Import("x", "t")).draft)
    assert [row["id"] for row in first.draft.rows] == ["x-00002", "x-00003"]


def test_the_command_names_what_it_left_out_and_writes_the_rest(tmp_path):
    path = file(tmp_path, "a.csv", "prompt,target\n[red]A cat[/red],1\nno answer,\n")
    base = ["dataset", "import", str(path), "--name", "pets", "--task", "count", "--datasets", str(tmp_path)]
    done = CliRunner().invoke(app, [*base, "--scorer", 'exact:{"form": "raw"}'])
    assert done.exit_code == 0, done.output
    assert f"{path}:3: left out: no target" in done.output.replace("\n", "")
    dataset = load_dataset(tmp_path / "pets")
    assert (dataset.samples[0].input, dataset.scorer.params) == ("[red]A cat[/red]", {"form": "raw"})
    again = CliRunner().invoke(app, base)
    assert again.exit_code == 1
    wrong = CliRunner().invoke(app, [*base, "--format", "xml"])
    assert wrong.exit_code == 1
