"""Write fact_extract: each base sentence is filled twice from our own vocabulary, never with the same words."""

# ruff: noqa: E501  (one sample a line)

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1101
DAY_WORDS = {
    "en": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "ja": ["月曜", "火曜", "水曜", "木曜", "金曜", "土曜", "日曜"],
}

# {event} {city} {price} are asked for; {day} {day2} {city2} {price2} {high} (above price) {n} {hour} mislead.
EN = """
plain|'{event}' opens in {city} on {day}, and a seat costs ${price}.
plain|Get your ${price} pass for '{event}': {day} evening, live from {city}.
plain|This {day} our crew films '{event}' in {city}; entry is ${price}.
plain|{city} hosts '{event}' this {day} for ${price} a head.
plain|The '{event}' workshop in {city} runs on {day}. Fee: ${price}.
plain|Join {n} other creators at '{event}' in {city}, {day} at noon, ${price}.
plain|See '{event}' on the big screen in {city} next {day} for only ${price}.
plain|We stream '{event}' from {city} every {day}; the ticket is ${price}.
plain|A {day} in {city}, {n} speakers, ${price} at the door: that is '{event}'.
plain|For ${price} you can watch the {day} taping of '{event}' in {city}.
two_prices|'{event}' tickets fell from ${high} to ${price} for the {day} show in {city}.
two_prices|{city}, {day}: '{event}'. Was ${high}, now ${price}.
two_prices|Members used to pay ${price2}; everyone now pays ${price} for '{event}' in {city} on {day}.
two_prices|The {day} screening of '{event}' in {city} costs ${price}, not ${price2} as first printed.
two_prices|Forget the old ${high} price: '{event}' in {city} this {day} is ${price}.
two_prices|Parking is ${price2}, but '{event}' itself is ${price} on {day} in {city}.
two_prices|Entry to '{event}' in {city} on {day} is ${price}; the poster is ${price2} extra.
two_days|'{event}' in {city} moves from {day2} to {day}; tickets stay at ${price}.
two_days|Not {day2} but {day}: '{event}' comes to {city} for ${price}.
two_days|Booking for '{event}' in {city} closes {day2}; the ${price} show is on {day}.
two_days|Because of rain on {day2}, '{event}' in {city} is now on {day}. Price: ${price}.
two_days|We rehearse on {day2} and perform '{event}' on {day} in {city} for ${price}.
two_days|Sold out on {day2}! '{event}' in {city} adds a {day} show at ${price}.
two_cities|After {city2}, '{event}' plays {city} on {day} for ${price}.
two_cities|'{event}' leaves {city2} and lands in {city} this {day}; seats are ${price}.
two_cities|Our host flies in from {city2} for '{event}' in {city}, {day}, ${price}.
two_cities|The {city2} date is cancelled; catch '{event}' in {city} on {day} for ${price}.
two_cities|'{event}' was shot in {city2}, but you can see it in {city} on {day} for ${price}.
two_cities|Fans from {city2} get a bus to {city} for '{event}' on {day}; entry ${price}.
mixed|From {city2} to {city}, from {day2} to {day}: '{event}' has a new home. Tickets are ${price}.
mixed|'{event}', {city}, {day}: {n} seats, ${price} each, down from ${high}.
mixed|Doors at {hour}, {day}, {city}. '{event}' costs ${price}, or ${high} with dinner.
mixed|The {city2} team sold {n} seats on {day2}; '{event}' in {city} is {day} at ${price}.
mixed|Last year '{event}' cost ${price2} in {city2}. This year it is ${price} in {city} on {day}.
mixed|On {day} we are in {city}, not {city2}, with '{event}' at ${price}.
mixed|Episode {n} covers '{event}', which hits {city} this {day} for ${price}.
casual|So, '{event}'! {city}, this {day}, ${price}, and yes, I will be there.
casual|Got ${price} and a free {day}? Come to '{event}' in {city}.
casual|Quick note: '{event}' is on {day}. Same place in {city}, ${price} as always.
casual|My pick of the week is '{event}' in {city}: {day} night, just ${price}.
casual|If you are near {city} on {day}, '{event}' is worth every one of its ${price}.
casual|Do not pay ${high} to resellers: '{event}', {city}, {day}, is ${price} on our site.
"""

JA = """
plain|「{event}」は{day}日に{city}で開催、料金は{price}円です。
plain|今週の{day}は{city}で「{event}」。チケットは{price}円。
plain|{city}の「{event}」、{day}日夜の回は{price}円で入れます。
plain|{price}円で楽しめる「{event}」が{day}日、{city}にやって来ます。
plain|撮影チームは{day}に{city}で「{event}」を取材。入場は{price}円。
plain|{city}で{day}に行う「{event}」の参加費は{price}円です。
plain|定員{n}名、「{event}」は{city}にて{day}日開催、{price}円。
plain|毎週{day}は{city}から「{event}」を生配信、視聴券は{price}円。
plain|{day}日の{city}、{n}組が出る「{event}」は{price}円です。
plain|次の{day}、{city}の劇場で「{event}」を{price}円で上映します。
two_prices|「{event}」は{high}円から{price}円に値下げ。{city}で{day}日です。
two_prices|{city}、{day}日の「{event}」。通常{high}円のところ{price}円。
two_prices|「{event}」の料金は{price2}円ではなく{price}円です。{day}、{city}にて。
two_prices|駐車場は{price2}円、「{event}」の入場は{price}円。{day}に{city}で。
two_prices|{day}の「{event}」は{price}円。{city}限定の冊子は別に{price2}円。
two_prices|昨年{price2}円だった「{event}」、今年は{city}で{day}に{price}円。
two_prices|{city}の「{event}」は食事付き{high}円、入場だけなら{price}円、{day}日です。
two_days|{city}の「{event}」は{day2}から{day}に変更。料金は{price}円のまま。
two_days|{day2}ではなく{day}です。{city}の「{event}」、{price}円。
two_days|「{event}」の申込は{day2}まで、本番は{day}。{city}で{price}円。
two_days|雨のため{day2}の「{event}」は{day}に延期、{city}で{price}円です。
two_days|{day2}に稽古、{day}に本番。{city}の「{event}」は{price}円。
two_days|{day2}は満席。{city}の「{event}」は{day}に追加公演、{price}円。
two_cities|「{event}」、{city2}の次は{city}。{day}日、{price}円です。
two_cities|{city2}公演は中止。「{event}」は{day}に{city}で、{price}円。
two_cities|{city2}から司会を招き、{city}で{day}に「{event}」。{price}円。
two_cities|{city2}で撮った「{event}」を{city}で{day}に公開、{price}円。
two_cities|{city2}発のバスで{city}へ。「{event}」は{day}、入場{price}円。
two_cities|会場は{city2}から{city}に変わりました。「{event}」、{day}日、{price}円。
mixed|「{event}」は{city2}の{day2}から{city}の{day}へ移動、{price}円です。
mixed|残り{n}席！{city}の「{event}」は{day}、{high}円が今だけ{price}円。
mixed|第{n}回は「{event}」を紹介。{city}で{day}から、{price}円です。
mixed|{day2}に{city2}で{n}人を集めた「{event}」、{day}は{city}で{price}円。
mixed|去年の{city2}は{price2}円、今年の{city}は{price}円。「{event}」は{day}です。
mixed|{day}は{city2}でなく{city}にいます。「{event}」、{price}円です。
mixed|開場は{hour}時。{day}の「{event}」、{city}にて{price}円、当日は{high}円。
casual|「{event}」、行きますよ！{city}で{day}、{price}円ですって。
casual|{day}が空いていたら{city}の「{event}」へ。{price}円は安い。
casual|今週の一押しは{city}の「{event}」、{day}の夜で{price}円。
casual|お知らせです。「{event}」は{day}、いつもの{city}で{price}円。
casual|転売の{high}円は買わないで。{city}の「{event}」、{day}は{price}円です。
casual|{city}の近くの方、{day}の「{event}」は{price}円の価値ありです。
"""

EVENTS = {
    "en": "Harbor Lights|Paper Lanterns|Night Kitchen|Slow Trains|Glass Orchard|Borrowed Summer|Tiny Rockets|Copper Rain|"
    "The Quiet Reel|Second Take|Velvet Static|Open Shutter|Winter Cartoons|Blue Hour Club|Lost Subtitles|Cardboard Moon|"
    "Midnight Edit|Salt and Film|Green Room Tales|Pocket Theater|Echo Garden|Frame by Frame|Rusty Antenna|Sunday Pixels|"
    "Marble Radio|The Long Cut|Puppet Harbor|Static Bloom|Lantern Jam|Silver Clapboard|Cloud Diner|Thirteen Cameras|"
    "Paper Boats|Noise and Tea|Little Premiere|Hidden Tracks|Moth Parade|Amber Studio|Kite Weather|Last Reel Fair|"
    "Ocean Tape|Bright Attic",
    "ja": "月夜の紙芝居|青い編集室|港町フィルム祭|小さなロケット展|深夜の台所|銀の雨音|ゆっくり列車旅|硝子の果樹園|字幕のない夜|"
    "借りた夏休み|段ボールの月|波音ラジオ|屋根裏シネマ|一コマ漫画展|静かなリール|十三台のカメラ|猫と三脚|風の録音会|"
    "紙ふうせん劇場|最後の予告編|夜明けの配信塔|人形たちの港|虹色テロップ|ひみつの試写会|雲の食堂|凧あげ日和|灯台ジャズ|"
    "ことり映像祭|琥珀スタジオ|さかさま劇団|雪どけ上映会|まちかど人形座|みどりの楽屋|海辺のテープ|ぽんこつアンテナ|"
    "となりの脚本家|星くず縁日|こだまの庭|万華鏡ライブ|あかり横丁|豆本フェア|路地裏サーカス",
}
CITIES = {
    "en": "Osaka|Lisbon|Denver|Oslo|Austin|Kyoto|Dublin|Seattle|Porto|Bergen|Sapporo|Madrid|Boston|Cardiff|Nagoya|Leeds|"
    "Milan|Tampa|Ghent|Krakow",
    "ja": "札幌|仙台|横浜|名古屋|京都|大阪|神戸|広島|福岡|長崎|金沢|新潟|静岡|岡山|高松|松山|熊本|那覇|盛岡|浜松",
}


def figures(rng, lang):
    """A price, another one, a higher one, and a small count, as numbers."""
    step = 1 if lang == "en" else 100
    low, high = (6, 95) if lang == "en" else (8, 78)
    price, other = rng.sample(range(low, high), 2)
    high = price + rng.randrange(3, 20)
    return price * step, other * step, high * step, rng.choice([12, 16, 18, 24, 30, 40, 65, 90])


def sentence(base, lang, event, rng):
    """One filled sentence with its record."""
    day, day2 = rng.sample(range(7), 2)
    city, city2 = rng.sample(CITIES[lang].split("|"), 2)
    price, price2, high, n = figures(rng, lang)
    comma = lang == "ja" and rng.random() < 0.5
    words = {
        "event": event,
        "city": city,
        "city2": city2,
        "day": DAY_WORDS[lang][day],
        "day2": DAY_WORDS[lang][day2],
        "price": f"{price:,}" if comma else price,
        "price2": f"{price2:,}" if comma else price2,
        "high": f"{high:,}" if comma else high,
        "n": n,
        "hour": rng.choice([5, 6, 7, 8]) + (12 if lang == "ja" else 0),
    }
    return base.format(**words), {"event": event, "city": city, "price": price}


def rows():
    """Two fillings of each base sentence, each with another event."""
    for lang, bases in (("en", EN), ("ja", JA)):
        rng = random.Random(f"{SEED} {lang}")
        events = EVENTS[lang].split("|")
        lines = bases.strip().splitlines()
        rng.shuffle(events)
        for index, line in enumerate(lines):
            kind, base = line.split("|", 1)
            for turn in range(2):
                event = events[(index + turn * 17) % len(events)]
                text, target = sentence(base, lang, event, rng)
                yield {"lang": lang, "input": text, "target": target, "tags": [kind]}


if __name__ == "__main__":
    write(Path(__file__).parent, "fe", list(rows()), SEED)
