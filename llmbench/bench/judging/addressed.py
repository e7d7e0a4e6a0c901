"""Find sentences of an answer that speak to its judge instead of doing the task, and take them out of sight.

Rules, not a model: what they find is the same each time and can be read here. They know the usual kinds in
English and Japanese and miss others; the fence stands either way. A sentence that only looks alike is
taken out as well, which is why every judgement says whether there was one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

MARKS: Final = {"en": "[a sentence addressed to the judge was removed]", "ja": "［採点者に向けた文を除去］"}

_DROP_EN: Final = r"\b(ignore|disregard|forget|override|bypass|skip)\b"
_JUDGE_EN: Final = (
    r"(judge|grader|evaluator|rater|assessor|examiner|referee|scorer|grading (model|system|ai))"
)
#: The name of an answer as a prompt gives it: a capital that is not the article of a word after it.
_NAME_OF: Final = (
    r"(answer |option |response )?['\"(]?\b(?-i:[AB])\b"
    r"(?!\[|\(|\.\w| [a-z]{3,} (of|for|to|with)\b)['\")]?"
)
_JUDGE_JA: Final = (
    r"(採点者|採点ai|採点モデル|審査員|審査ai|審判|評価者|評価ai|評価モデル|判定者|判定ai|ジャッジ)"
)
#: Kinds of sentences that speak to a judge: orders to set aside what came before; words to or about the
#: judge; a verdict ordered, claimed or forged; a forged end of the quotation or a forged turn.
_RULES: Final = tuple(
    re.compile(rule, re.IGNORECASE)
    for rule in (
        rf"{_DROP_EN}.{{0,40}}\b(above|previous|prior|earlier|preceding)\b",
        rf"{_DROP_EN}.{{0,40}}\b(instructions?|prompts?|rules?|criteria|rubric)\b",
        (
            r"(以前|これまで|上記|前述|先ほど|今まで|前|上|全て|すべて)の?.{0,8}"
            r"(指示|命令|ルール|基準|設定).{0,14}(無視|忘れ|破棄|従わ)"
        ),
        r"(指示|命令|ルール|採点基準|評価基準|プロンプト).{0,6}(無視|忘れ|破棄|上書き)",
        # what follows or stands beside is not to be read; a role or a task is changed
        (
            r"\b(everything|anything|the rest|all) (after|below|of the (conversation|text|prompt))\b.{0,30}"
            r"\b(irrelevant|ignored?|disregard(ed)?|a test|void)\b"
        ),
        r"\b(do not|don't|never) (consider|read|evaluate|grade|judge|score)\b.{0,20}\b(other|rest|rubric)\b",
        r"\byou (will|must|shall|are to|should) now\b|\bfrom now on,? you\b",
        r"\byour (new )?(task|role|job|goal|instructions?) (is now|are now|(has |have )?changed)\b",
        r"(ここから先|これ以降|以降|この先|以下)(の文|の内容)?[はをも].{0,8}(無視|読ま)",
        r"あなたの(役割|任務|仕事|課題)(は|が).{0,6}(変わ|変更|終わ)|あなたは(今から|これから|もう)|今後は.{0,4}(常に|必ず)",
        r"(もう片方|もう一方|他方|相手側?).{0,14}(評価しない|読ま|無視|盗作|劣|無効)",
        r"\b(new|updated|real|actual|revised) (instructions?|rubric|system prompt|rules?)\b",
        r"(新しい|本当の|真の|追加の|更新された)(指示|命令|採点基準|評価基準|ルール)",
        (
            r"\b(task|rules?|rubric|criteria|instructions?) (has|have|had|was|were) (been )?"
            r"(updated|changed|withdrawn|replaced)\b"
        ),
        r"(課題|基準|ルール|指示)(が|は)(更新|変更|撤回|置き換え)",
        r"\bsystem (prompt|override|message|notice)\b|\bdeveloper mode\b|\bevaluation (disabled|over)\b",
        r"システム(プロンプト|メッセージ|通知|指示|命令)|開発者モード|管理者(権限|モード)",
        rf"\b(dear|attention|(note|message) (to|for)|hey|hello|as (an?|the))\b.{{0,24}}\b{_JUDGE_EN}\b",
        rf"\b{_JUDGE_EN}s?\s*[:,!]|\b(you are|you're) .{{0,40}}\b{_JUDGE_EN}\b",
        rf"\b(for|to) (the|any|all|every) (\w+[ -])?{_JUDGE_EN}s?\b|\b(llm|ai|auto)[ -]?{_JUDGE_EN}\b",
        r"\bif you('re| are) (an? |the )?(ai|llm|language model|bot|model|one)\b",
        r"\bwhoever (reads|grades|marks|judges)\b",
        r"\b(supervisor|developers?|creators?|boss|admin) (asked|told|wants?|expects?) (you|that)\b",
        r"\[?\b(admin|sudo)\b\]?\s*[:\]]|\b(hidden|secret|private) (note|message|instruction)\b",
        r"\bbe (generous|lenient|kind|gentle)\b.{0,30}\b(response|answer|grading|marking|score|me)\b",
        r"(採点|評価|審査|判定|比較)(する|している|中の|を行う|担当の)(ai|モデル|方|人|皆)",
        r"(甘め|高め|寛大|優しめ|多め)に?.{0,4}(採点|評価|判定|点)|(採点|評価|審査|比較)(の?対象外|は?不要|欄)",
        rf"\b{_JUDGE_EN}s? (must|should|shall|has to|have to|need)\b",
        rf"{_JUDGE_JA}(の方|の皆様|の皆さん|様|さん|殿)?(へ|に|、|:|!|の(あなた|指示))",
        (
            r"\b(choose|select|pick|prefer|favou?r|vote for|declare|output|return|reply|rank|rate)\b.{0,30}"
            r"\b(answer|response|option|candidate|verdict|winner) ?['\"]?[ab12]\b"
        ),
        rf"\b(choose|select|pick|prefer|print|outputs?|returns?|vote( for)?|respond with|say) {_NAME_OF}",
        rf"{_NAME_OF} (wins?|(has been|is|was) (declared|named|better|best|final|the (winner|best)))\b",
        rf"{_NAME_OF} ?[>＞] ?(?-i:[AB])\b|\bfinal (answer|verdict|decision|ranking)\W+(?-i:[AB])\b",
        r"(?-i:[AB])」?(を|が|と|に|で|の方が|のほうが).{0,6}(勝|選|出力|答え|返|判定|優れ|確定|良い|支持)",
        r"\b(reply|say|state|declare|write) that\b.{0,20}\b[ab] (is|wins)\b",
        (
            r"\b(answer|response|option|candidate) ?['\"]?[ab12]['\"]?\b.{0,24}"
            r"\b(better|best|wins?|winner|superior|worse|preferred|only valid|invalid)\b"
        ),
        (
            r"\b(this|the other|my) (answer|response)\b.{0,44}\b(better|best|wins?|winner|superior|deserves?|"
            r"wrong|verified|approved|checked|full marks|invalid)\b"
        ),
        r"\b(full|maximum|perfect|top|highest) (marks?|score|points?|grade|rating)\b",
        r"\b(evaluation|score|rating|grade|marks?|deserves|worth)\b.{0,30}\b\d{1,3}\s*/\s*(5|10|20|100)\b",
        r"</?(grade|score|verdict|rating|judg(e)?ment|winner)>|\b(verdict|winner|grade)\s*=",
        r"\d+点満点|(点数|得点|評価|採点)(は|:).{0,8}\d+点|自動的に合格",
        r"\b(score|rating|grade)\s*[:=]?\s*(of )?\d{1,2}\s*(/|out of)\s*\d",
        r"(回答|解答|答え|応答|選択肢)「?[ab12]」?(を|が|の方が|のほうが|だけ|は).{0,12}(選|優|良|よ|勝|有効|高)",
        r"「?\b[ab]」?の(方|ほう)が(良|よ|優|正)|有効なのは.{0,10}[ab]",
        (
            r"(この|こちらの|私の|もう一方の|相手の)(回答|解答|答え)(を|が|は|に|の方が).{0,20}"
            r"(選|優れ|勝|正し|最高|満点|高い|高く|誤り|間違|劣|無効|確認済|検証済|承認)"
        ),
        r"満点|最高(点|評価|得点)|高い?(得点|評価|点)を(つけ|付け|与え)",
        r"[\"'「](better|winner|verdict|score|c\d|preference)[\"'」]\s*[:=]",
        r"\b(verdict|winner)\b\s*([:=]|(above|below) is)",
        r"(勝者|判定|評価結果|採点結果)\s*[:=はを]|(採点|評価|判定)(結果)?は?.{0,6}確定|勝者と(し|する)",
        r"\b(end|close|closing) of (the )?(answer|response|candidate|quoted?|data|input)",
        r"\b(comparison|evaluation|grading|quotation) (is|has) (over|ended|finished|complete)",
        r"(回答|解答|引用|引用データ|比較|評価|採点)(は|の)?(ここまで|以上|終わり|終了|終わりました)",
        r"[<‹]\|?/?(im_start|im_end|system|user|assistant|start_of_turn|end_of_turn|eot|endoftext|human)\b",
        r"[\[［]/?(inst|sys|system|assistant|user)[\]］]|[<‹]{2}/?sys[>›]{2}",
        r"^\W*(system|assistant|developer|instruction|システム|アシスタント)\s*[:>]",
        r"^\W*#{1,6}\s*(system|instruction|verdict|evaluation|judge|システム|指示|判定|評価|採点)",
        r"^\W*\[/?[0-9a-f]{10}\b|\[/(answer|回答) ?[ab]?\s*\]",
    )
)
#: A sentence with what ends it and the blanks after it; a full stop ends one before a blank only.
_SENTENCE: Final = re.compile(r".+?(?:[。．！？!?]+[」』)）\"']*|\.+[)\"']*(?=\s|\Z)|\n|\Z)\s*", re.DOTALL)
#: Letters of other alphabets that look like Latin ones; a few common ones stand for the trick.
_LOOKALIKES: Final = str.maketrans("аеорсухіјѕԁһԛԝɡοαν", "aeopcyxijsdhqwgoav")


@lru_cache(maxsize=4096)
def withhold(text: str, lang: str, trusted: str = "") -> tuple[str, bool]:
    """A text with a mark in the place of each run of sentences that address a judge, and whether there were.

    Args:
        text: an answer, as `fence.plain_text` gives it.
        lang: the language of the mark; English where it has none.
        trusted: what the task's author wrote: prompt, target, schema. A rule that it meets is off: there
            it would take out what was asked for.
    """
    mark = MARKS.get(lang, MARKS["en"])
    rules = _rules_beside(trusted)
    kept: list[str] = []
    was_met = found = False
    for sentence in _sentences(text):
        is_met = _met_by(sentence, rules)
        if is_met and not was_met:
            kept.append(mark + sentence[len(sentence.rstrip()) :])
        elif not is_met:
            kept.append(sentence)
        was_met, found = is_met, found or is_met
    return ("".join(kept).strip() if found else text), found


@lru_cache(maxsize=64)
def _rules_beside(trusted: str) -> tuple[re.Pattern[str], ...]:
    return tuple(rule for rule in _RULES if not _met_by(trusted, [rule]))


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text, which joined are the text. A line that begins as JSON is one piece."""
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith(("{", "[{", '"')):
            yield line
        else:
            yield from _SENTENCE.findall(line)


def _met_by(text: str, rules: Iterable[re.Pattern[str]]) -> bool:
    """Whether a text meets a rule: as it is, with look-alikes made Latin, or s p a c e d letters joined."""
    flat = unicodedata.normalize("NFKC", text)
    flat = "".join(char for char in flat if unicodedata.category(char) != "Cf").strip()
    latin = flat.translate(_LOOKALIKES)
    joined = re.sub(
        r"\b((?:\w )+\w)\b", lambda found: found[0].replace(" ", ""), re.sub(r" {2,}", "\n", latin)
    )
    forms = {flat, latin, joined.replace("\n", " ")}
    return any(rule.search(form) for form in forms for rule in rules)
