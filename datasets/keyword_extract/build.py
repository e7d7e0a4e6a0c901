"""Write keyword_extract: descriptions; a line is tag|keyword;keyword;keyword|text.

A keyword's accepted spellings are separated by `/`; the first is the one in the target.
"""

# ruff: noqa: E501  (one sample a line)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1404

EN = """
plain|harbour;fishing boats;crane|A walk around the old harbour, where fishing boats share the water with one rusty crane.
plain|sourdough;oven;yeast|Why sourdough rises slowly, what wild yeast eats, and how hot the oven should be.
plain|telescope;Saturn;rings|With a small telescope you can see Saturn, and on a calm night even its rings.
plain|violin;varnish;spruce|From spruce to varnish: a maker shows how a violin gets its voice.
plain|glacier;ice core;climate|Scientists drill an ice core from the glacier to read the climate of the past.
plain|tripod;shutter;night sky|A tripod, a slow shutter and patience are all you need to film the night sky.
plain|goats;cheese;mountain|Up on the mountain a young couple keeps goats and makes cheese in a stone hut.
plain|puppets;shadow;theatre|Behind the screen of a shadow theatre, ten puppets wait for their cue.
plain|bicycle;brakes;chain|Check the brakes, oil the chain, and your bicycle will survive the winter.
plain|beekeeper;hive;honey|The beekeeper opens the hive at dawn and tastes this year's honey.
plain|lighthouse;storm;keeper|In the worst storm of the decade, the keeper stayed alone in the lighthouse.
plain|subtitles;timing;font|Good subtitles need three things: clear timing, a plain font and short lines.
list|saffron;cardamom;clove|Three spices change everything here: saffron, cardamom and a single clove.
list|falcon;heron;swift|Learn to tell a falcon from a heron and a swift by their shape in flight.
list|hammer;chisel;plane|You need no power tools for this bench, only a hammer, a chisel and a plane.
list|fever;cough;rest|If you have a fever and a cough, says the nurse, rest is still the best plan.
list|granite;marble;slate|How granite, marble and slate break in different ways under the same blow.
list|intro;hook;outro|Plan the hook first, then the intro, and record the outro last.
list|cello;flute;drum|A cello, a flute and one drum fill the empty swimming pool with sound.
list|passport;ticket;charger|He forgot his passport, his ticket and his charger, in that order.
filler|volcano;ash;airport|Well, as you can probably imagine, the ash from the volcano closed the airport for a week.
filler|thumbnail;contrast;faces|To be honest, what makes a thumbnail work is mostly contrast, and faces of course.
filler|chess;clock;opening|So the thing about chess online is that the clock punishes a slow opening.
filler|marathon;blister;shoes|Somehow she finished the marathon with a blister on each foot and borrowed shoes.
filler|tortoise;lettuce;garden|Believe it or not, the tortoise has been stealing lettuce from our garden all summer.
filler|tea;kettle;temperature|If you ask me, the right temperature matters more for tea than any fancy kettle.
filler|comet;tail;binoculars|This week, and only this week, the comet shows its tail even in cheap binoculars.
filler|podcast;editing;silence|Here is a secret: editing a podcast is mainly deciding which silence to keep.
negation|vinegar;rust;steel wool|Do not buy a spray: vinegar and steel wool remove rust just as well.
negation|drone;permit;beach|You cannot fly a drone over this beach unless you have a permit from the city.
negation|potatoes;cellar;light|Never store potatoes in the light; a cool cellar keeps them for months.
negation|wolf;sheep;dogs|The wolf did not come for the sheep this year, because of the new dogs.
negation|piano;humidity;tuner|It was not the tuner who ruined the piano but the humidity of the hall.
negation|kite;string;wind|Without a long string even the best kite is useless in a light wind.
names|Elena;tapestry;castle|Elena spent eleven years on the tapestry that now hangs in the castle.
names|Marcus;submarine;wreck|With a home-made submarine, Marcus filmed a wreck that nobody had visited.
names|Lisbon;tram;hills|In Lisbon the yellow tram climbs hills that would stop a car.
names|Nadia;robot;recycling|Nadia trained a robot to sort recycling by the sound of each piece.
names|Norway;salmon;ladder|On a river in Norway, salmon climb a concrete ladder to reach their lake.
names|Hugo;accordion;subway|Every Friday Hugo plays the accordion in the subway for his daughter.
names|Kenya;roses;lake|Half of the roses in our shops grow beside one lake in Kenya.
names|Ruth;typewriter;letters|Ruth, ninety-one, still writes all her letters on a green typewriter.
"""

JA = """
plain|和紙;楮;川/冷たい川|冷たい川で楮をさらし、昔ながらの和紙を一枚ずつすく職人の冬。
plain|灯籠;祭り;湖|湖に千の灯籠を流す祭りの準備を、三日間追いかけました。
plain|抹茶;茶筅;泡|茶筅の動かし方ひとつで、抹茶の泡はここまで変わります。
plain|金継ぎ;漆;器/割れた器|割れた器を漆でつなぐ金継ぎの、いちばん簡単な始め方。
plain|蒸気機関車;石炭;鉄橋|石炭をくべ続ける乗務員の目線で、蒸気機関車が鉄橋を渡ります。
plain|味噌;大豆;麹|大豆と麹を混ぜる手つきを見れば、味噌の出来が分かるそうです。
plain|露天風呂;雪;山小屋|山小屋の露天風呂で、降る雪を眺めるだけの一時間です。
plain|編集;字幕;音量|編集の最後に確かめるのは、字幕の誤字と音量の二つだけです。
plain|海女;アワビ;海|八十歳の海女が、今も毎朝海に潜ってアワビを採っています。
plain|陶芸;窯;火|窯の火を三日絶やさない、山の陶芸家に密着しました。
plain|盆栽;針金;枝/松の枝|針金で松の枝を曲げる、盆栽の基本を一から学びます。
plain|手ぬぐい;型紙;職人|型紙を彫る職人の手元から、一枚の手ぬぐいができるまで。
list|三脚;マイク;予備電池|撮影に出る日は、三脚とマイクと予備電池を必ず持ちます。
list|昆布;鰹節;煮干し|昆布、鰹節、煮干し、だしの違いを目隠しで当てられるか。
list|鹿;猪;狐|足跡だけで鹿と猪と狐を見分ける、猟師の目を借りました。
list|竹;紙;糸|竹と紙と糸だけで、夜空に上がる大きな凧を作ります。
list|笛;太鼓;三味線|笛と太鼓に三味線が加わると、踊りの輪が急に大きくなります。
list|塩;酢;砂糖|寿司飯は塩、酢、砂糖をどの順で入れるかで味が変わります。
list|構成;台本;撮影|構成を決め、台本を書き、撮影は一日で終わらせる方法です。
list|杉;檜;松|杉と檜と松の香りを、目を閉じて比べてみました。
filler|看板;筆;ペンキ|正直なところ、看板の出来は筆よりペンキの薄め方で決まるんです。
filler|雪かき;腰;スコップ|まあ要するに、雪かきで腰を痛める人はスコップの持ち方が違います。
filler|鶏;卵;音楽|信じられないでしょうが、音楽を流すと鶏が卵を多く産むそうです。
filler|漫才;間;稽古|実を言うと漫才の間は、稽古より電車の中で決めているんです。
filler|登山;靴;雨|言うまでもなく、雨の登山では靴がすべてを左右します。
filler|靴下;冷え;生姜|個人的には、冷えには生姜よりも厚い靴下だと思っています。
filler|虹;滝;朝日|なんとこの滝では、朝日の当たる十分だけ虹が二本かかります。
filler|暗室;写真;匂い|ここだけの話、写真を暗室で焼く人は匂いで仕上がりが分かります。
negation|納豆;箸;回数|納豆は箸で混ぜる回数が多いほどよい、とは限らないようです。
negation|神社;鳥居;石段|鳥居までの石段が急なので、この神社に車椅子では行けません。
negation|里芋;冷蔵庫;新聞紙|里芋は冷蔵庫に入れず、新聞紙に包んで置いてください。
negation|熊;鈴;山道|鈴を鳴らしても、この山道の熊は逃げないと言われます。
negation|金魚;水槽;日光|日光の当たらない場所でなければ、水槽の金魚は長生きしません。
negation|花火;煙;風|風がないと煙が残り、どんな花火もきれいに撮れません。
names|田中;紙芝居;公園|田中さんは毎週土曜、公園で自作の紙芝居を読んでいます。
names|長崎;路面電車;坂|坂の多い長崎では、路面電車が今も暮らしの足です。
names|美咲;消防団;太鼓|美咲は消防団で初めての女性として、祭りの太鼓も任されました。
names|北海道;流氷;アザラシ|北海道の流氷の上で、アザラシの親子が昼寝をしています。
names|健太;駄菓子屋;自転車|健太は自転車で全国の駄菓子屋を回り、味を記録しています。
names|瀬戸内;レモン;斜面|瀬戸内の急な斜面で、レモンを背負って運ぶ家族がいます。
names|奈良;鹿;せんべい|奈良の鹿がせんべいの前におじぎをする理由を調べました。
names|和子;盆踊り;歌|九十一歳の和子さんがいないと、村の盆踊りの歌は始まりません。
"""


def rows():
    for lang, text in (("en", EN), ("ja", JA)):
        for line in text.strip().splitlines():
            tag, words, sentence = line.split("|")
            required = [group.split("/") for group in words.split(";")]
            target = {"keywords": [group[0] for group in required]}
            yield {
                "lang": lang,
                "input": sentence,
                "target": target,
                "checks": {"required": required},
                "tags": [tag],
            }


if __name__ == "__main__":
    write(Path(__file__).parent, "kw", list(rows()), SEED)
