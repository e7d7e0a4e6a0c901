"""Write runtime_math: each problem is set in English and Japanese with other numbers.

The answers are computed."""

# ruff: noqa: ARG005, E501  (every answer is given the same three numbers; one text a line)

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1606

# (tag, English, Japanese, ranges of a, b, c, answer). {d} is only there to mislead.
PROBLEMS = [
    (
        "sum",
        "The intro takes {a} seconds, the interview {b} and the credits {c}. How many seconds is the whole video?",
        "冒頭{a}秒、対談{b}秒、終わりの挨拶{c}秒。全部で何秒ですか。",
        ((5, 10), (20, 40), (5, 10)),
        lambda a, b, c: a + b + c,
    ),
    (
        "difference",
        "The raw clip is {b} seconds long. We cut {a} seconds at the start and {c} at the end. How long is it now?",
        "{b}秒の素材から、頭の{a}秒と終わりの{c}秒を切りました。残りは何秒ですか。",
        ((2, 10), (40, 90), (2, 10)),
        lambda a, b, c: b - a - c,
    ),
    (
        "product",
        "We publish {a} videos a week, {b} minutes each. How many minutes is that in {c} weeks?",
        "毎週{a}本、1本{b}分の動画を出します。{c}週で何分になりますか。",
        ((2, 4), (3, 10), (2, 3)),
        lambda a, b, c: a * b * c,
    ),
    (
        "product",
        "{a} cameras record for {b} minutes and fill {c} MB each minute. How many MB do we need in all?",
        "カメラ{a}台で{b}分撮り、1分に{c}MB使います。全部で何MB必要ですか。",
        ((2, 3), (2, 6), (2, 10)),
        lambda a, b, c: a * b * c,
    ),
    (
        "mixed",
        "A subtitler earns ${a} a minute of video. She did {b} minutes, and {c} more today. What does she earn?",
        "字幕は1分{a}円です。{b}分と、今日さらに{c}分を仕上げました。報酬は何円ですか。",
        ((2, 6), (2, 10), (2, 10)),
        lambda a, b, c: a * (b + c),
    ),
    (
        "mixed",
        "The budget is ${c}00. We rent {a} lights at ${b} each. How many dollars are left?",
        "予算は{c}00円です。1個{b}円の電球を{a}個買うと、残りは何円ですか。",
        ((2, 4), (10, 30), (2, 5)),
        lambda a, b, c: c * 100 - a * b,
    ),
    (
        "division",
        "{a} editors share {b} clips equally; each finished {c}. How many clips are left for each editor?",
        "{b}本の素材を{a}人で等しく分け、各自{c}本を終えました。1人あたり残りは何本ですか。",
        ((2, 6), (6, 12), (1, 5)),
        lambda a, b, c: b - c,
    ),
    (
        "percent",
        "Of {b} viewers, {a} percent stayed to the end. How many viewers stayed?",
        "視聴者{b}人のうち{a}％が最後まで見ました。何人ですか。",
        ((2, 9), (2, 9), (1, 9)),
        lambda a, b, c: a * b * 10,
    ),
    (
        "time",
        "A film of {a} minutes starts at 18:{b}. At how many minutes past 19:00 does it end?",
        "{a}分の映画が18時{b}分に始まります。終わるのは19時何分ですか。",
        ((45, 60), (20, 40), (1, 9)),
        lambda a, b, c: a + b - 60,
    ),
    (
        "time",
        "The video runs {a} minutes and {b} seconds. How many seconds is that?",
        "動画の長さは{a}分{b}秒です。何秒ですか。",
        ((1, 4), (5, 30), (1, 9)),
        lambda a, b, c: a * 60 + b,
    ),
    (
        "speed",
        "A {b} minute lecture is played at double speed, then a {a} minute talk at normal speed. How many minutes?",
        "{b}分の講義を2倍速で見て、続けて{a}分の対談を等速で見ます。何分かかりますか。",
        ((5, 15), (10, 40), (1, 9)),
        lambda a, b, c: b // 2 + a,
    ),
    (
        "distractor",
        "Our {d} fans asked for it: {a} new episodes of {b} minutes. How many minutes do we have to film?",
        "{d}人の要望で、{b}分の新作を{a}本作ります。撮るのは合計何分ですか。",
        ((2, 6), (3, 12), (1, 9)),
        lambda a, b, c: a * b,
    ),
    (
        "distractor",
        "Tape {d} holds {b} scenes. {a} are bad and {c} have no sound. How many scenes can we use?",
        "テープ{d}番には{b}場面あり、{a}場面は失敗、{c}場面は無音です。使えるのは何場面ですか。",
        ((2, 9), (25, 40), (2, 9)),
        lambda a, b, c: b - a - c,
    ),
    (
        "distractor",
        "In {d} minutes of stream, {a} viewers gave ${b} each and one gave ${c}. How many dollars came in?",
        "{d}分の配信で{a}人が{b}円ずつ、別の1人が{c}円を送りました。合計は何円ですか。",
        ((2, 6), (2, 10), (10, 30)),
        lambda a, b, c: a * b + c,
    ),
    (
        "chain",
        "The channel had {b} subscribers, won {c} and lost {a}. How many does it have?",
        "登録者{b}人の番組に{c}人が加わり、{a}人がやめました。いま何人ですか。",
        ((5, 20), (100, 200), (20, 50)),
        lambda a, b, c: b + c - a,
    ),
    (
        "chain",
        "We wrote {b} pages, dropped {a}, then doubled what was left. How many pages are there?",
        "台本を{b}枚書き、{a}枚を捨て、残りを2倍に増やしました。何枚になりましたか。",
        ((2, 9), (12, 25), (1, 9)),
        lambda a, b, c: (b - a) * 2,
    ),
    (
        "rate",
        "The narrator reads {a} words a second. She reads for {b} seconds and rests {c}. How many words were read?",
        "語り手は1秒に{a}文字読みます。{b}秒読んで{c}秒休みました。読んだのは何文字ですか。",
        ((2, 4), (10, 30), (5, 15)),
        lambda a, b, c: a * b,
    ),
    (
        "rate",
        "Rendering takes {a} minutes per clip. {b} clips are done of {c} clips. How many minutes are still needed?",
        "書き出しは1本{a}分です。{c}本のうち{b}本が済みました。あと何分かかりますか。",
        ((2, 6), (3, 6), (8, 14)),
        lambda a, b, c: (c - b) * a,
    ),
    (
        "half",
        "Half of our {b} photos are blurred, and {a} sharp ones are too dark. How many good photos are there?",
        "写真{b}枚の半分はぶれ、ぶれていない{a}枚は暗すぎます。使えるのは何枚ですか。",
        ((2, 7), (16, 30), (1, 9)),
        lambda a, b, c: b // 2 - a,
    ),
    (
        "extra",
        "Each of {a} trailers has {b} shots, and the last one has {c} extra. How many shots are there in all?",
        "予告編{a}本は各{b}カット、最後の1本だけさらに{c}カット多いです。全部で何カットですか。",
        ((2, 4), (4, 10), (2, 9)),
        lambda a, b, c: a * b + c,
    ),
    (
        "fee",
        "The studio costs ${b} an hour plus ${c} for cleaning. What do {a} hours cost in dollars?",
        "スタジオは1時間{b}00円、清掃は一律{c}00円です。{a}時間借りると何円ですか。",
        ((2, 4), (5, 20), (3, 10)),
        lambda a, b, c: a * b + c,
    ),
    (
        "one_step",
        "We filmed {a} scenes in the morning and {b} in the evening. How many scenes?",
        "朝に{a}場面、夕方に{b}場面を撮りました。合計何場面ですか。",
        ((2, 9), (2, 9), (1, 1)),
        lambda a, b, c: a + b,
    ),
    (
        "one_step",
        "The video had {b} comments and {a} were deleted. How many are left?",
        "{b}件のコメントのうち{a}件を消しました。残りは何件ですか。",
        ((2, 9), (10, 20), (1, 1)),
        lambda a, b, c: b - a,
    ),
    (
        "one_step",
        "Each of our {a} cameras needs 2 batteries. How many batteries do we need?",
        "カメラ{a}台に電池を2個ずつ入れます。電池は何個必要ですか。",
        ((3, 12), (1, 1), (1, 1)),
        lambda a, b, c: a * 2,
    ),
    (
        "one_step",
        "{b} minutes of film, half of it is cut. How many minutes remain?",
        "{b}分の映像を半分に縮めます。何分になりますか。",
        ((1, 1), (10, 40), (1, 1)),
        lambda a, b, c: b // 2,
    ),
    (
        "one_step",
        "A poster costs $10. What do {a} posters cost in dollars?",
        "ポスターは1枚10円です。{a}枚で何円ですか。",
        ((2, 9), (1, 1), (1, 1)),
        lambda a, b, c: a * 10,
    ),
    (
        "one_step",
        "The stream started at {a} o'clock and ended {b} hours later. At what hour did it end?",
        "配信は{a}時に始まり、{b}時間続きました。終わったのは何時ですか。",
        ((2, 6), (2, 5), (1, 1)),
        lambda a, b, c: a + b,
    ),
    (
        "one_step",
        "Last week {a} people asked for subtitles, this week {b} more than that. How many this week?",
        "字幕の希望は先週{a}人、今週はそれより{b}人多いです。今週は何人ですか。",
        ((5, 20), (2, 9), (1, 1)),
        lambda a, b, c: a + b,
    ),
    (
        "one_step",
        "There are {b} chairs in the studio and {a} guests sit down. How many chairs stay empty?",
        "スタジオの椅子{b}脚に客が{a}人座ります。空きは何脚ですか。",
        ((3, 9), (10, 30), (1, 1)),
        lambda a, b, c: b - a,
    ),
    (
        "one_step",
        "How many seconds are {a} minutes of music?",
        "音楽{a}分は何秒ですか。",
        ((2, 9), (1, 1), (1, 1)),
        lambda a, b, c: a * 60,
    ),
    (
        "one_step",
        "{a} teams bring {b} puppets each. How many puppets is that?",
        "{a}組が人形を{b}体ずつ持って来ます。全部で何体ですか。",
        ((2, 5), (2, 9), (1, 1)),
        lambda a, b, c: a * b,
    ),
    (
        "two_step",
        "I had $20, bought a cable for ${a} and tape for ${b}. How many dollars do I have now?",
        "20円持っていて、{a}円の紐と{b}円の紙を買いました。残りは何円ですか。",
        ((2, 8), (2, 8), (1, 1)),
        lambda a, b, c: 20 - a - b,
    ),
    (
        "two_step",
        "{a} clips of 10 seconds and one clip of {b} seconds: how many seconds altogether?",
        "10秒の映像{a}本と{b}秒の映像1本、合わせて何秒ですか。",
        ((2, 6), (3, 9), (1, 1)),
        lambda a, b, c: a * 10 + b,
    ),
    (
        "two_step",
        "On the bus were {a} actors; {b} got on, then {c} got off. How many are on the bus?",
        "バスに役者が{a}人。{b}人が乗り、{c}人が降りました。いま何人ですか。",
        ((5, 12), (3, 9), (2, 4)),
        lambda a, b, c: a + b - c,
    ),
    (
        "two_step",
        "Two hosts speak {a} minutes each and a guest speaks {b}. How many minutes in all?",
        "司会2人が{a}分ずつ、客が{b}分話します。全部で何分ですか。",
        ((3, 9), (5, 15), (1, 1)),
        lambda a, b, c: 2 * a + b,
    ),
    (
        "two_step",
        "Out of {b} photos I keep half and add {a} new ones. How many photos do I have?",
        "写真{b}枚の半分を残し、新しく{a}枚を足しました。何枚ありますか。",
        ((2, 9), (10, 30), (1, 1)),
        lambda a, b, c: b // 2 + a,
    ),
    (
        "two_step",
        "A box holds 6 lamps. We have {a} boxes and {b} lamps are broken. How many lamps work?",
        "1箱に電球が6個、{a}箱あり、{b}個が切れています。使えるのは何個ですか。",
        ((2, 4), (1, 5), (1, 1)),
        lambda a, b, c: 6 * a - b,
    ),
    (
        "two_step",
        "She edited {a} minutes a day for 3 days and {b} minutes are left. How many minutes was it at first?",
        "1日{a}分ずつ編集し、3日で終えて{b}分余りました。素材は何分でしたか。",
        ((4, 9), (1, 6), (1, 1)),
        lambda a, b, c: a * 3 + b,
    ),
    (
        "not_needed",
        "Room {d} has {a} lights and {b} spare bulbs for {c} shows. How many lights and bulbs are there?",
        "{d}号室に照明{a}台と予備{b}台、公演は{c}回です。照明は予備を入れて何台ですか。",
        ((3, 9), (2, 9), (2, 5)),
        lambda a, b, c: a + b,
    ),
    (
        "not_needed",
        "In {d} seconds the dog jumps {a} times and the cat {b} times. How many more jumps has the cat?",
        "{d}秒で犬は{a}回、猫は{b}回跳びました。猫は何回多いですか。",
        ((2, 8), (10, 20), (1, 1)),
        lambda a, b, c: b - a,
    ),
    (
        "not_needed",
        "The {d} page script has {a} parts for women and {b} for men. How many parts are there?",
        "{d}頁の台本に女性の役が{a}、男性の役が{b}あります。役はいくつですか。",
        ((2, 9), (2, 9), (1, 1)),
        lambda a, b, c: a + b,
    ),
    (
        "not_needed",
        "Channel {d} shows {a} films on Saturday and twice as many on Sunday. How many on Sunday?",
        "{d}番の局は土曜に{a}本、日曜にその2倍の映画を流します。日曜は何本ですか。",
        ((2, 9), (1, 1), (1, 1)),
        lambda a, b, c: a * 2,
    ),
]
HALVED = ("half", "double speed", "半分", "2倍速")


def numbers(text, ranges, rng):
    """Random values of a, b, c, d; b is even where it is halved."""
    a, b, c = (rng.randint(*limits) for limits in ranges)
    if any(word in text.lower() for word in HALVED):
        b += b % 2
    return {"a": a, "b": b, "c": c, "d": rng.choice([35, 48, 120, 150, 240, 300])}


def fill(tag, text, ranges, answer, rng):
    """The problem's text and its answer, in whole numbers."""
    n = numbers(text, ranges, rng)
    value = answer(n["a"], n["b"], n["c"])
    shown = dict(n)
    if tag == "division":
        shown["b"] = n["a"] * n["b"]
    if tag == "percent":
        shown |= {"a": n["a"] * 10, "b": n["b"] * 100}
    if tag == "fee" and "00円" in text:
        value *= 100
    return text.format(**shown), value


def rows():
    for index, (tag, en, ja, ranges, answer) in enumerate(PROBLEMS):
        rng = random.Random(f"{SEED} {index}")
        for lang, text in (("en", en), ("ja", ja)):
            line, value = fill(tag, text, ranges, answer, rng)
            row = {"lang": lang, "input": line, "target": {"answer": value}, "tags": [tag]}
            yield row | {"source": index}


if __name__ == "__main__":
    write(Path(__file__).parent, "rm", list(rows()), SEED)
