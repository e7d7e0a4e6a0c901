"""A log of production calls becomes a dataset: stratified, without repeats, masked, the same every time."""

import gzip
import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.draft import files_of, write_dataset
from llmbench.bench.datasets.from_log import LogDraw, allocate, draft_from_log
from llmbench.bench.datasets.texts import ChatText, NearChats, folded, shingles
from llmbench.bench.scorers import check_dataset
from llmbench.cli import app
from llmbench.errors import DatasetError
from llmbench.messages import Message, Request, Response, Route, Usage, canonical_json
from llmbench.telemetry import TelemetryLog, success_line

PROMPTS = Path(__file__).parents[2] / "shared" / "data" / "prompts"
WORDS = "river stone glaze wind village singers morning train paper lantern festival harbour".split()  # noqa: SIM905 -- a list of words
KANJI = "猫 川 石 山 村 朝 電車 光 紙 提灯 祭り 港 釉薬 風 歌手 雪 庭 茶碗".split()  # noqa: SIM905


def sentence(number):
    """A text of its own for each number, in English or Japanese."""
    draw = random.Random(number)
    if number % 2:
        return (
            " ".join(draw.choice(WORDS) + str(draw.randint(0, 99)) for _ in range(draw.randint(6, 40))) + "."
        )
    return (
        "は".join(draw.choice(KANJI) + str(draw.randint(0, 99)) for _ in range(draw.randint(6, 40)))
        + "です。"
    )


def call(number, text=None, **other):
    said = sentence(number) if text is None else text
    line = {
        "schema": 1,
        "status": "success",
        "timestamp": f"2026-11-22T09:00:{number % 60:02}.000Z",
        "call_id": f"c{number:05}",
        "task": "caption",
        "channel": f"CH{number % 3:02}",
        "model": "small",
        "fallback_chain": ["small"],
        "usage": {"input_tokens": 9, "output_tokens": 70},
        "messages": [{"role": "system", "content": "Write a caption."}, {"role": "user", "content": said}],
        "output": f"caption {number}",
    }
    return {**line, **other}


def log_of(path, calls):
    lines = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in calls]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def log(tmp_path):
    """120 calls: every tenth fell back, every twelfth failed; two broken lines, one of another task."""
    calls = [call(number) for number in range(120)]
    for one in calls[::10]:
        one["fallback_chain"] = ["big", "small"]
    for one in calls[::12]:
        one |= {"status": "fail", "error_kind": "timeout", "model": None, "output": None}
    return log_of(tmp_path / "log.jsonl", [*calls, call(900, task="other"), "{torn", "[1]"])


def drawn(log, **chosen):
    return draft_from_log([log] if isinstance(log, Path) else log, LogDraw("caption", **chosen))


def test_a_draw_loads_and_its_card_accounts_for_every_line(log, tmp_path):
    draft = drawn(log, n=40)
    dataset = write_dataset(draft, tmp_path / "caption_log")
    counts = dataset.source["counts"]
    assert counts["lines"] == 123
    refused = [count for name, count in counts.items() if name.startswith(("bad line", "of another"))]
    assert sum(refused) + counts["calls with a prompt"] == 123
    assert counts["drawn"] == len(dataset.samples) == 40
    assert dataset.source["logs"][0]["sha256"] == hashlib.sha256(log.read_bytes()).hexdigest()
    assert dataset.prompt.system == "Write a caption."
    assert [sample.turns for sample in dataset.samples] == [None] * 40
    assert {sample.target for sample in dataset.samples} == {None}
    assert dataset.options == {"max_tokens": 128}
    assert {sample.lang for sample in dataset.samples} == {"en", "ja"}
    check_dataset(dataset)  # as a plan does with a dataset that it names


def test_a_row_without_turns_has_the_hash_that_recorded_runs_know(tmp_path, log):
    dataset = write_dataset(drawn(log, n=5), tmp_path / "d")
    lines = (tmp_path / "d" / "data.jsonl").read_text("utf-8").splitlines()
    for sample, line in zip(dataset.samples, lines, strict=True):
        row = json.loads(line)
        assert sorted(row) == ["checks", "cluster", "id", "input", "lang", "tags", "target"]
        assert sample.sha256 == hashlib.sha256(canonical_json(row).encode()).hexdigest()


def test_every_channel_length_and_outcome_is_in_the_draw(log):
    draft = drawn(log, n=40)
    tags = Counter(tag for row in draft.rows for tag in row["tags"])
    assert set(tags) == {
        *("channel:CH00", "channel:CH01", "channel:CH02"),
        *("length:short", "length:middle", "length:long"),
        *("outcome:success", "outcome:fallback", "outcome:fail:timeout"),
    }
    for stratum in draft.source["strata"]:
        assert 1 <= stratum["drawn"] <= stratum["prompts"]


def test_a_draw_depends_on_calls_and_seed_alone_and_not_on_the_order_of_lines(log, tmp_path):
    lines = log.read_text("utf-8").splitlines()
    lines += [json.dumps(call(200 + number, sentence(number), channel="CH09")) for number in range(40)]
    log = log_of(tmp_path / "log.jsonl", lines)
    random.Random(3).shuffle(lines)
    parts = [log_of(tmp_path / "a.jsonl", lines[:50]), log_of(tmp_path / "b.jsonl", lines[50:])]
    one, again, other = files_of(drawn(log, n=30)), files_of(drawn(log, n=30)), files_of(drawn(parts, n=30))
    assert one == again
    assert [one[name] == other[name] for name in ("data.jsonl", "lineage.jsonl")] == [True, True]
    assert files_of(drawn(log, n=30, seed=1))["data.jsonl"] != one["data.jsonl"]


def test_every_sample_is_traced_to_its_call(log):
    draft = drawn(log, n=30)
    calls = {line["call_id"]: line for line in map(json.loads, log.read_text("utf-8").splitlines()[:120])}
    assert [line["sample_id"] for line in draft.lineage] == [row["id"] for row in draft.rows]
    for row, line in zip(draft.rows, draft.lineage, strict=True):
        assert calls[line["call_id"]]["messages"][-1]["content"] == row["input"]
        assert line["timestamp"] == calls[line["call_id"]]["timestamp"]


def test_the_same_prompt_is_drawn_once_whatever_its_spelling(tmp_path):
    texts = ["The cat sat.", "the  CAT sat", "ＴＨＥ cat sat!", "祭りの提灯", "祭りの提灯。"]
    log = log_of(tmp_path / "log.jsonl", [call(i, text) for i, text in enumerate(texts)])
    draft = drawn(log, n=10)
    assert len(draft.rows) == 2
    assert draft.source["counts"]["the same prompt again"] == 3
    assert sorted(line["calls"] for line in draft.lineage) == [2, 3]


def test_a_prompt_that_nearly_repeats_another_is_left_out_and_counted(tmp_path):
    long = sentence(1) + " " + sentence(3)
    log = log_of(tmp_path / "log.jsonl", [call(1, long), call(2, long + " Please."), call(3)])
    draft = drawn(log, n=10)
    assert len(draft.rows) == 2
    assert draft.source["counts"]["nearly the same as one drawn"] == 1
    assert len(drawn(log, n=10, near=1.0).rows) == 3


def test_a_template_that_all_prompts_share_does_not_make_them_near(tmp_path):
    template = (
        "Write a caption of at most thirty characters for the sentence below, in its own language. " * 4
    )
    log = log_of(tmp_path / "log.jsonl", [call(i, template + sentence(i)[:30]) for i in range(60)])
    assert len(drawn(log, n=60).rows) == 60


def test_prompts_whose_material_is_in_the_system_text_are_not_one(tmp_path):
    ask = {"role": "user", "content": "見出しを書いてください"}
    chats = [[{"role": "system", "content": f"次の記事を読みなさい。{sentence(i)}"}, ask] for i in range(40)]
    log = log_of(tmp_path / "log.jsonl", [call(i, messages=chat) for i, chat in enumerate(chats)])
    rows = drawn(log, n=40).rows
    assert len(rows) == len({row["cluster"] for row in rows}) == 40


def test_a_long_system_text_makes_no_two_prompts_near(tmp_path):
    system = {"role": "system", "content": sentence(1) * 9}
    chats = [[system, {"role": "user", "content": sentence(i)}] for i in range(2, 8)]
    log = log_of(tmp_path / "log.jsonl", [call(i, messages=chat) for i, chat in enumerate(chats)])
    assert len(drawn(log, n=9).rows) == 6


def test_a_log_without_prompts_is_answered_with_the_setting_that_the_config_takes(tmp_path):
    log = log_of(tmp_path / "log.jsonl", [call(1, messages=None)])
    with pytest.raises(DatasetError, match=r"`defaults: \{log_content: true\}`"):
        drawn(log)


def test_personal_data_is_masked_alike_in_the_whole_dataset_and_counted(tmp_path):
    say = [
        f"{sentence(1)} 連絡は taro@example.jp または 090-1234-5678 へ。",
        f"{sentence(2)} taro@example.jp again, hanako@example.jp too.",
        sentence(3),
    ]
    calls = [call(i, text, output="mail taro@example.jp") for i, text in enumerate(say)]
    draft = drawn(log_of(tmp_path / "log.jsonl", calls), n=3, target="output")
    text = files_of(draft)["data.jsonl"].decode()
    assert "example.jp" not in text
    assert "090" not in text
    assert draft.source["masked"] | {"email": 6, "phone": 1} == draft.source["masked"]
    names = {row["target"] for row in draft.rows}
    assert len(names) == 1


def test_two_prompts_that_differ_in_masked_values_alone_are_one(tmp_path):
    calls = [call(i, f"Answer the mail of user{i}@example.com politely.") for i in range(5)]
    assert len(drawn(log_of(tmp_path / "log.jsonl", calls), n=5, near=1.0).rows) == 1


def test_earlier_turns_are_kept_in_the_row_and_sent_in_place_of_the_cards_prompt(tmp_path):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "日本で一番高い山は？"},
        {"role": "assistant", "content": "富士山です。"},
        {"role": "user", "content": "続けて"},
    ]
    other = [*chat[:1], {"role": "user", "content": "A long river in Africa?"}, *chat[2:]]
    calls = [call(1, messages=chat), call(2, messages=other), call(3)]
    dataset = write_dataset(drawn(log_of(tmp_path / "log.jsonl", calls), n=9), tmp_path / "chats")
    sent = [dataset.messages(sample) for sample in dataset.samples]
    assert chat in sent
    assert other in sent
    assert len({sample.cluster for sample in dataset.samples}) == 3


def test_turns_of_one_conversation_share_a_cluster(tmp_path):
    first = [{"role": "user", "content": sentence(1)}]
    later = [*first, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": sentence(3)}]
    draft = drawn(log_of(tmp_path / "log.jsonl", [call(1, messages=first), call(2, messages=later)]), n=9)
    assert len(draft.rows) == 2
    assert len({row["cluster"] for row in draft.rows}) == 1


def test_what_cannot_be_a_row_is_counted_with_its_reason(tmp_path):
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    tool = [{"role": "user", "content": "x"}, {"role": "tool", "content": "y", "tool_call_id": "1"}]
    answered = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    calls = [call(1, messages=m) for m in (image, tool, answered, None, [])] + [call(2)]
    counts = drawn(log_of(tmp_path / "log.jsonl", calls), n=9).source["counts"]
    assert counts["no row: a turn is not one plain text"] == 1
    assert counts["no row: a turn is a tool's"] == 1
    assert counts["no row: the last turn is the assistant's, not the user's"] == 1
    assert counts["without content"] == 2


def test_older_spellings_of_the_line_are_read(tmp_path):
    old = {
        "ts": 1763800000,
        "task": "caption",
        "selected_model": "old",
        "chain": ["big", "old"],
        "usage": {"prompt_tokens": 3, "completion_tokens": 200},
        "messages": [{"role": "user", "content": "A river."}],
    }
    draft = drawn(log_of(tmp_path / "log.jsonl", [old]), n=1)
    assert draft.lineage[0]["call_id"] == "log.jsonl:1"
    assert (draft.lineage[0]["model"], draft.lineage[0]["outcome"]) == ("old", "fallback")
    assert draft.options == {"max_tokens": 256}


def test_the_line_that_the_router_writes_is_read(tmp_path):
    request = Request("caption", (Message("user", "川の写真"),), "id-1")
    route = Route("caption", "cheap", ("small",), ())
    priced = (9.0, None, "unknown", "id-1", (), (), route)
    response = Response("川", "small", "s", "p", "cheap", "stop", Usage(3, 4), *priced)
    telemetry = TelemetryLog(tmp_path / "log.jsonl")
    telemetry.write(success_line(request, response, config_hash="x", content=True))
    telemetry.close()
    draft = drawn(tmp_path / "log.jsonl", n=1, target="output")
    assert (draft.rows[0]["input"], draft.rows[0]["target"]) == ("川の写真", "川")
    assert draft.lineage[0]["call_id"] == "id-1"


def test_logged_answers_become_targets_only_when_asked_and_the_card_says_what_they_are(log):
    draft = drawn(log, n=20, target="output")
    assert all(row["target"].startswith("caption ") for row in draft.rows)
    assert draft.source["counts"]["without an answer"] == 10
    assert "no person checked them" in draft.description
    assert draft.scorer == {"name": "exact"}


def test_answers_that_break_the_schema_are_left_out(tmp_path):
    schema = {"type": "object", "required": ["label"]}
    outputs = ['{"label": "praise"}', "praise", '{"other": 1}']
    log = log_of(tmp_path / "log.jsonl", [call(i, output=text) for i, text in enumerate(outputs)])
    draft = drawn(log, n=9, target="output", output_schema=schema)
    assert [row["target"] for row in draft.rows] == [{"label": "praise"}]
    dataset = write_dataset(drawn(log, n=9, output_schema=schema), tmp_path / "untargeted")
    assert len(dataset.samples) == 3


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"channels": ("CH77",)}, "no prompt to draw"),
        ({"n": 0}, "--n 0: ask for one sample at least"),
        ({"name": "../up"}, "is no name for a dataset"),
    ],
)
def test_a_draw_that_gives_nothing_says_why(log, chosen, wanted):
    with pytest.raises(DatasetError, match=wanted):
        drawn(log, **chosen)


def test_an_unknown_task_is_answered_with_those_of_the_log(log):
    with pytest.raises(
        DatasetError, match=r"no call of task 'capton'; its tasks are caption \(120\), other \(1\)"
    ):
        draft_from_log([log], LogDraw("capton"))


def test_a_folder_that_holds_something_else_is_never_written_over(log, tmp_path):
    folder = tmp_path / "d"
    write_dataset(drawn(log, n=10), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_dataset(drawn(log, n=10), folder)
    with pytest.raises(DatasetError, match="exists and is not the same dataset"):
        write_dataset(drawn(log, n=11), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_the_command_writes_a_dataset_and_says_the_counts(log, tmp_path):
    base = ["dataset", "from-log", str(log), "--task", "caption", "--n", "20", "--datasets", str(tmp_path)]
    dry = CliRunner().invoke(app, [*base, "--dry-run", "--json"])
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.stdout)[0]["counts"]["drawn"] == 20
    assert not (tmp_path / "caption_log").exists()
    done = CliRunner().invoke(app, base)
    assert done.exit_code == 0, done.output
    assert "wrote" in done.stdout
    assert load_dataset(tmp_path / "caption_log").sha256
    card = yaml.safe_load((tmp_path / "caption_log" / "card.yaml").read_text("utf-8"))
    assert card["source"]["kind"] == "log"


@given(
    st.dictionaries(st.tuples(*[st.text("ab", max_size=2)] * 3), st.integers(0, 50), max_size=12),
    st.integers(1, 200),
)
def test_an_allocation_gives_what_is_asked_and_never_more_than_there_is(sizes, n):
    given_ = allocate(sizes, n)
    assert sum(given_.values()) == min(n, sum(sizes.values()))
    assert all(0 <= given_[key] <= sizes[key] for key in sizes)
    if n >= len(sizes):
        assert all(given_[key] for key in sizes if sizes[key])


@given(st.lists(st.text("abcd 猫犬", min_size=1, max_size=40), max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_the_index_of_near_texts_finds_what_comparing_all_pairs_finds(texts, threshold):
    index, groups = NearChats(threshold), []
    for place, text in enumerate(texts):
        own = shingles(text)
        wanted = [
            other
            for other in range(place)
            if len(own & shingles(texts[other])) >= threshold * len(own | shingles(texts[other]))
        ]
        assert index.has_near(ChatText(text, text)) == bool(wanted)
        joined = [group for group in groups if group & set(wanted)]
        found = index.join(ChatText(text, text))
        assert set(found) <= set(wanted)
        assert [len(group & set(found)) for group in joined] == [1] * len(joined) == [1] * len(found)
        groups = [group for group in groups if group not in joined] + [{place}.union(*joined)]


@given(st.text(max_size=80))
def test_folding_a_folded_text_changes_nothing(text):
    assert folded(folded(text)) == folded(text)


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the measuring data is not here")
def test_real_prompts_are_drawn_without_what_looks_personal(tmp_path):
    texts = []
    for name in ("ifeval_ja", "ifeval_en", "rakuda_v2"):
        with gzip.open(PROMPTS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                texts.append(record.get("prompt") or record["turns"][0])
    log = log_of(tmp_path / "log.jsonl", [call(i, text) for i, text in enumerate(texts)])
    dataset = write_dataset(drawn(log, n=150), tmp_path / "real")
    assert len(dataset.samples) == 150
    inputs = [sample.input for sample in dataset.samples if "[" not in sample.input]
    assert set(inputs) <= set(texts)
