"""Write fact_extract: each sentence is filled once, with an event name of its own."""

import random
import sys
from pathlib import Path

import sentences_en
import sentences_ja

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1101
SOURCES = {"en": sentences_en, "ja": sentences_ja}
DAY_WORDS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "ja": ["月曜", "火曜", "水曜", "木曜", "金曜", "土曜", "日曜"],
}
MONTHS = ["January", "March", "April", "May", "June", "August", "September", "October", "November"]


def amounts(rng, lang):
    """The price and the amounts that mislead, in dollars or yen, as numbers.

    price2 is any other amount, high an amount above the price, low a little below it, small a cheap extra,
    total a large sum (in dollars, or in units of ten thousand yen).
    """
    step = 1 if lang == "en" else 100
    least, most = (6, 95) if lang == "en" else (8, 78)
    price, other = rng.sample(range(least, most), 2)
    return {
        "price": price * step,
        "price2": other * step,
        "high": (price + rng.randrange(3, 20)) * step,
        "low": (price - rng.randrange(1, 5)) * step,
        "small": rng.randrange(2, min(price, 12)) * step,
        "total": rng.randrange(12, 60) * (100 if lang == "en" else 1),
    }


def dates(rng, lang):
    """Two different dates, the earlier one first."""
    (month, month2), day, day2 = sorted(rng.sample(range(9), 2)), rng.randrange(1, 29), rng.randrange(1, 29)
    if lang == "en":
        return {"date": f"{MONTHS[month]} {day}", "date2": f"{MONTHS[month2]} {day2}"}
    return {"date": f"{month + 2}月{day}日", "date2": f"{month2 + 2}月{day2}日"}


def sentence(base, lang, event, event2, rng):
    """One filled sentence with its record; what ends in 2, and any amount but the price, misleads."""
    day, day2 = rng.sample(DAY_WORDS[lang], 2)
    city, city2 = rng.sample(SOURCES[lang].CITIES.split("|"), 2)
    money = amounts(rng, lang)
    style = "," if lang == "en" or rng.random() < 0.5 else ""
    words = {
        "event": event,
        "event2": event2,
        "city": city,
        "city2": city2,
        "day": day,
        "day2": day2,
        "n": rng.choice([12, 16, 18, 24, 30, 40, 65, 90]),
        "hour": rng.choice([5, 6, 7, 8]) + (12 if lang == "ja" else 0),
        **dates(rng, lang),
        **{key: format(amount, style) for key, amount in money.items()},
    }
    return base.format(**words), {"city": city, "price": money["price"]}


def rows():
    """One filling of each sentence, each with an event of its own."""
    for lang, source in SOURCES.items():
        rng = random.Random(f"{SEED} {lang}")
        events = source.EVENTS.split("|")
        rng.shuffle(events)
        bases = source.SENTENCES.strip().splitlines()
        for line, event, event2 in zip(bases, events, events[1:] + events[:1], strict=True):
            kind, base = line.split("|", 1)
            text, target = sentence(base, lang, event, event2, rng)
            yield {"lang": lang, "input": text, "target": target, "tags": [kind]}


if __name__ == "__main__":
    write(Path(__file__).parent, "fe", list(rows()), SEED)
