"""Personal data is found in Japanese and English texts, called by one name each, and no rule can hang."""

import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench.datasets.mask_rules import _finder, mask_rules
from llmbench.bench.datasets.masking import Masker, narrow
from llmbench.bench.datasets.personal import PERSONAL_RULES, is_my_number, passes_luhn
from llmbench.errors import DatasetError

HIDDEN = [
    ("Write to anna.b+x@mail.example.co.uk.", "Write to [EMAIL_1]."),
    ("連絡先はtaro@example.jpです。", "連絡先は[EMAIL_1]です。"),
    ("電話は090-1234-5678まで", "電話は[PHONE_1]まで"),
    ("電話は０９０－１２３４－５６７８まで", "電話は[PHONE_1]まで"),
    ("代表 03(1234)5678、内線12", "代表 [PHONE_1]、内線12"),
    ("09012345678", "[PHONE_1]"),
    ("Call +81 90-1234-5678 or (415) 555-2671.", "Call [PHONE_1] or [PHONE_2]."),
    ("海外からは+81 (0)90-1234-5678まで", "海外からは[PHONE_1]まで"),
    ("Ring +44 20 7946 0958 today", "Ring [PHONE_1] today"),
    ("〒100-0001 千代田区", "[POSTAL_1] 千代田区"),
    ("100-0001 東京都千代田区", "[POSTAL_1] 東京都千代田区"),
    ("card 4111 1111 1111 1111 12/28", "card [CARD_1] 12/28"),
    ("番号4111111111111111です", "番号[CARD_1]です"),
    ("マイナンバーは1234 5678 9018です", "マイナンバーは[MY_NUMBER_1]です"),
    ("host 192.168.10.24 or fe80::1ff:fe23:4567:890a", "host [IP_1] or [IP_2]"),
    ("see https://user:pw@example.com/a?b=1.", "see [URL_1]."),
    ("GET https://example.com/x?id=3&access_token=abc123", "GET [URL_1]"),
    ("鍵はsk-abcdefghijklmnopqrstuvwx です", "鍵は[KEY_1] です"),
    ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [KEY_1]"),
    ("password: hunter2x, thanks", "password: [KEY_1], thanks"),
    ("No.4111 1111 1111 1111 です", "No.[CARD_1] です"),
    ("個人番号No.123456789018", "個人番号No.[MY_NUMBER_1]"),
    ("カード 4111-1111-1111-1111 3.5万円", "カード [CARD_1] 3.5万円"),
    ("４１１１ー１１１１ー１１１１ー１１１１", "[CARD_1]"),
    ("4111  1111  1111  1111", "[CARD_1]"),
    ("4111 - 1111 - 1111 - 1111", "[CARD_1]"),
    ("番号は1234ー5678ー9018", "番号は[MY_NUMBER_1]"),
    ("1234・5678・9018と1234_5678_9018", "[MY_NUMBER_1]と[MY_NUMBER_1]"),
    ("Tel090-1234-5678 TEL03-1234-5678", "Tel[PHONE_1] TEL[PHONE_2]"),
    ("090-1234-5678_自宅、050-1234-5678-", "[PHONE_1]_自宅、[PHONE_2]-"),
    ("090 - 1234 - 5678 090・1234・5678", "[PHONE_1] [PHONE_1]"),
    ("0081-90-1234-5678 または 090-1234-5678", "[PHONE_1] または [PHONE_1]"),
    ("Call 1-415-555-2671.", "Call [PHONE_1]."),
    ("郵便番号は150-0002です", "[POSTAL_1]です"),
    ("(〒 (150-0002))", "([POSTAL_1])"),
    ("山田太郎@example.co.jp", "[EMAIL_1]"),
    ("taro@例え.jp、taro%40example.com", "[EMAIL_1]、[EMAIL_2]"),
    ('to "taro yamada"@example.com', "to [EMAIL_1]"),
    ("Authorization: Basic dGFybzpzZWNyZXQ=", "Authorization: Basic [KEY_1]"),
]
KEPT = [
    "In 2026-11-28 the price rose from 1,200 to 1,500 yen at 12:34:56.",
    "第5.2.1.3節と型番 100-2000 を見てください。",
    "card 4242 4242 4242 4243 has a wrong check digit",
    "番号123456789012は個人番号ではない",
    "see https://example.com/watch?v=abc&t=3 and std::vector",
    "The years 2012 2013 2014 2015, 2019・2020・2021・2022 and 2001-2002-2003.",
    "Basic knowledge, basic authorization and 12 - 1234 - 5678 pieces.",
    "0081234567890 and 1.4111111111111111",
    "π is 3.14159265358979323846",
]


def masked(text, rules=PERSONAL_RULES):
    return Masker(rules).mask(text)


@pytest.mark.parametrize(("text", "wanted"), HIDDEN)
def test_personal_data_is_replaced_and_the_words_around_it_stay(text, wanted):
    assert masked(text) == wanted


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_stays(text):
    assert masked(text) == text


def test_one_value_has_one_placeholder_in_a_dataset_however_it_is_spelt():
    masker = Masker(PERSONAL_RULES)
    assert masker.mask("A@example.com, b@example.com") == "[EMAIL_1], [EMAIL_2]"
    assert masker.mask("ａ＠example.com 090-1234-5678") == "[EMAIL_1] [PHONE_1]"
    assert masker.mask("+81 90 1234 5678 / 09012345678") == "[PHONE_1] / [PHONE_1]"
    assert masker.counts == {"email": 3, "phone": 3}


def test_overlapping_values_leave_no_rest():
    assert masked("https://a.example/?token=x&mail=anna@example.com end") == "[URL_1] end"


@given(st.lists(st.sampled_from([text for text, _ in HIDDEN] + KEPT), max_size=6))
def test_a_masked_text_holds_nothing_more_to_mask(texts):
    masker = Masker(PERSONAL_RULES)
    once = masker.mask("\n".join(texts))
    assert masker.find(once) == []


@given(st.text(max_size=200))
def test_any_text_keeps_what_no_rule_found(text):
    masker = Masker(PERSONAL_RULES)
    found = masker.find(text)
    assert all(one.end <= two.start for one, two in pairwise(found))
    ends, starts = [0, *(one.end for one in found)], [*(one.start for one in found), len(text)]
    kept = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    rest = masker.mask(text)
    for piece in kept:
        assert piece in rest


@given(st.from_regex(r"[0-9]{11}", fullmatch=True))
def test_one_of_ten_check_digits_makes_a_my_number_and_a_card(digits):
    if len(set(digits)) > 1:
        assert sum(is_my_number(digits + str(last)) for last in range(10)) == 1
    assert sum(passes_luhn(digits + str(last)) for last in range(10)) == 1


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a@",
        "1",
        "1 ",
        "1-",
        "+1",
        "(0",
        "0-",
        "0:",
        "1.1.",
        "://a",
        "a://",
        "?token",
        "eyJ",
        "〒",
        "password",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_our_own_rules_take_time_in_proportion_to_the_text(piece):
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 8


# ---- the user's rules ----------------------------------------------------------------------------------


def rules_file(tmp_path, text):
    path = tmp_path / "rules.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_users_rules_come_first_and_ours_can_be_switched_off(tmp_path):
    text = """
without: [ip]
rules:
  - name: employee
    pattern: '\\bEMP-\\d{4}'
  - name: person
    pattern: '(山田|Smith|（株）猫)(さん)?'
    replacement: '(someone)'
  - name: mail_of_us
    pattern: '[a-z]+@us\\.example'
    replacement: 'X{n}'
"""
    rules = mask_rules(rules_file(tmp_path, text))
    said = "社員EMP-1234、山田さん（ＥＭＰ－1235）と10.20.30.40、"
    said += "bob@us.example, eve@us.example, a@b.jp、（株）猫"
    assert masked(said, rules) == (
        "社員[EMPLOYEE_1]、(someone)（[EMPLOYEE_2]）と10.20.30.40、X1, X2, [EMAIL_1]、(someone)"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rules:\n  - name: a\n    pattern: '('\n", "rules.yaml:3: not a pattern for RE2 (missing ): ()"),
        ("rules:\n  - name: a\n    pattern: 'a(?=b)'\n", "rules.yaml:3: not a pattern"),
        ("rules:\n  - name: a\n    pattern: 'x*'\n", "rules.yaml:3: the pattern matches an empty text"),
        ("rules:\n  - name: email\n    pattern: 'x'\n", "rules.yaml:2: there is a rule `email` already"),
        (
            "rules:\n  - name: a\n    patern: 'x'\n",
            "rules.yaml:3: unknown key `rules.0.patern`; did you mean `pattern`?",
        ),
        ("rules:\n  - name: a\n", "rules.yaml:2: `rules.0.pattern`: Field required"),
        ("without: [mail]\n", "rules.yaml:1: no rule `mail`; did you mean `email`?"),
        ("rules: [\n", "rules.yaml:2: not valid YAML"),
    ],
)
def test_a_bad_rule_is_refused_with_file_and_line(tmp_path, text, wanted):
    with pytest.raises(DatasetError) as caught:
        mask_rules(rules_file(tmp_path, text))
    assert wanted in str(caught.value).replace(f"{tmp_path}/", "")
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_rules_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.yaml: cannot be read"):
        mask_rules(Path(tmp_path / "none.yaml"))


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "a*a*a*a*a*b", "(.*)(.*)(.*)(.*)[0-9]x"])
def test_a_pattern_that_would_hang_python_ends_at_once(tmp_path, pattern):
    rules = mask_rules(rules_file(tmp_path, f"rules:\n  - name: slow\n    pattern: '{pattern}'\n"))
    began = time.process_time()
    masked("a" * 50_000 + "!", rules)
    assert time.process_time() - began < 5


_FIND_VOWELS = _finder("[aeiou]+", "rules.yaml:1")


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_users_rule_finds_whole_matches_and_nothing_else(text):
    vowels = "".join(char if char in "aeiou" else " " for char in text).split()
    assert [text[start:end] for start, end in _FIND_VOWELS(text)] == vowels


def test_narrow_text_keeps_every_character_at_its_place():
    text = "ＡＢＣ　１２３－４５６、表。"
    assert len(narrow(text)) == len(text)
    assert narrow(text) == unicodedata.normalize("NFKC", text)
