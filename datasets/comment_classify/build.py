"""Write comment_classify: every comment is a text of its own; a line is label|tags|text."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from authoring import write

SEED = 1202

EN = """
praise|plain|The lighting in this one is gorgeous, best episode so far.
praise|plain|I have watched the ending four times and I still get goosebumps.
praise|plain|Your editing got so much better since spring, well done.
praise|plain|Finally a tutorial that a beginner like me can follow.
praise|plain|My grandmother and I laughed through the whole thing.
praise|negation|Not a single boring second. I never do this, but I subscribed.
praise|negation|I can't find anything to complain about, and I tried.
praise|slang|ok that drone shot was sick, you guys are killing it
praise|slang|the outro song slaps, my whole bus was vibing
praise|mixed|I hated the first season, but this restart won me over completely.
praise|mixed|Usually your jokes are not for me. This time I cried laughing.
praise|question_form|How are you this good at explaining lenses?!
praise|question_form|Can we talk about how perfect that last cut is?
praise|numbers|10 out of 10, and I don't even like cooking shows.
praise|plain|Thank you, your budget tips saved my school project.
praise|plain|The sound design deserves an award, seriously.
praise|request_form|Please never change, this channel is my happy place.
complaint|plain|The music is so loud that I can't hear the host.
complaint|plain|Three ads in five minutes, I gave up halfway.
complaint|plain|The subtitles are two seconds late again.
complaint|plain|You promised the second part in May and it is October.
complaint|sarcasm|Great, another forty minutes of you unpacking boxes.
complaint|sarcasm|Wow, the title had more content than the video. Bravo.
complaint|sarcasm|Lovely camera work, if you enjoy being seasick.
complaint|sarcasm|Thanks for spoiling the finale in the thumbnail, really kind.
complaint|negation|This is not the honest review you announced.
complaint|negation|No sources, no dates, nothing. I expected more.
complaint|mixed|Nice set, pretty colours, and yet I fell asleep by minute six.
complaint|mixed|I loved the old host; the new one just reads from paper.
complaint|question_form|Who thought that shouting for half an hour was a good idea?
complaint|question_form|Why would anyone pay nine dollars for a blurry stream?
complaint|numbers|Paid 25 dollars, got 12 minutes. Never again.
complaint|slang|ngl this felt rushed and the mic was trash
complaint|plain|The recipe is wrong, I followed it and the cake collapsed.
question|plain|Which microphone did you use in the forest scene?
question|plain|What is the name of the song at the two-minute mark?
question|plain|Is the blue jacket a costume or did you buy it somewhere?
question|plain|How long did the paint take to dry before the second coat?
question|plain|Does this plugin also run on an old laptop?
question|plain|At what time does the Sunday stream begin in Lisbon?
question|no_mark|I wonder where this pier is, somewhere in Norway maybe
question|no_mark|curious how many people worked on the animation
question|no_mark|anyone know if the tripod fits in hand luggage
question|polite|Love the show! Quick thing: was the crowd real or added later?
question|polite|Sorry if I missed it, but who wrote the script?
question|negation|Didn't you say the shop closed? Or is that a different street?
question|negation|Isn't that the same actor as in the ferry episode?
question|numbers|Did the 30 or the 60 frame version get uploaded?
question|mixed|Beautiful edit. What font is in the credits?
question|mixed|The ad was annoying, but is that discount valid in Canada?
question|slang|wait so is the dog okay at the end or what
request|plain|Please make a longer video about colour grading.
request|plain|Could you add Spanish subtitles next time?
request|plain|We need a part two with the fisherman!
request|plain|Do a studio tour when the new desk arrives.
request|plain|It would help if you put chapters in the timeline.
request|plain|I'd love to see you build the same shelf without a saw.
request|question_form|Any chance of a slower version for beginners?
request|question_form|Would you consider an interview with the sound team?
request|question_form|Can you turn the intro volume down in future episodes?
request|polite|Wonderful work. If possible, list the gear in the description.
request|polite|No rush, but a winter camping episode would make my year.
request|negation|Don't stop at ten minutes next time, go deeper.
request|negation|Less talking to the camera from now on, more street shots please.
request|mixed|The tea episode was dull; try coffee next.
request|mixed|Great series, now bring back the night market one!
request|numbers|Make it 4 episodes instead of 2, please.
request|slang|collab with the puppet guy pls pls pls
spam|plain|Earn 500 dollars a day from home, link in my profile.
spam|plain|Get 10,000 followers overnight, visit my page now.
spam|plain|Hot deals on watches!!! Click before midnight.
spam|plain|My cousin tripled her savings with this trader, write to him on chat.
spam|plain|Free gift cards for the first 50 people, tap my name.
spam|disguised|Great video! By the way, my channel pays you to watch, come and see.
spam|disguised|Nice content dear, kindly check my crypto signals group.
spam|disguised|So inspiring. I lost weight with these drops, order on my site.
spam|disguised|Love your style! I sell cheap views and likes, message me.
spam|question_form|Want to get rich while you sleep? Ask me how on my page.
spam|question_form|Tired of your job? This app pays 90 dollars an hour, link in bio.
spam|question_form|Who wants a free phone? I am giving away 20, click my photo.
spam|numbers|SALE 80% SALE 80% shoes bags shoes, shop at my link
spam|negation|This is not a scam: send 1 coin and receive 2 back today.
spam|negation|Don't buy followers elsewhere, ours are cheaper, see profile.
spam|slang|yo sub 4 sub, I sub back in one minute, all my subs do it
spam|disguised|As a doctor I recommend these miracle pills, buy through my page.
"""

JA = """
praise|plain|雪山の空撮、息をのむ美しさでした。
praise|plain|難しい話なのに小学生の息子まで夢中でした。
praise|plain|声が落ち着いていて、寝る前に聞くのが日課です。
praise|plain|失敗まで隠さず見せてくれるところが好きです。
praise|plain|この番組のおかげで家族の会話が増えました。
praise|plain|色づかいが絵本みたいで、何度も止めて見ました。
praise|plain|手話の通訳まで入っていて、心づかいに感動。
praise|negation|眠くなるはずの歴史の話が、まったく眠くない。
praise|negation|文句を言うつもりで開いたのに、言うことがない。
praise|mixed|音楽は好みじゃないけど、脚本が良すぎて全部許した。
praise|mixed|一話は微妙だったのに、三話で完全に心をつかまれた。
praise|question_form|こんな丁寧な検証、ほかに誰がやります？
praise|question_form|え、これ一人で作ったの？すごすぎない？
praise|slang|後半の伏線回収、鳥肌やばい
praise|slang|今日も推しが尊い、生きててよかった
praise|numbers|二十年映画を見てきて、五本の指に入る短編です。
praise|request_form|頼むからこの二人をずっと組ませてあげて、最高だから。
complaint|plain|画面が暗くて、何を作っているのか分かりません。
complaint|plain|同じ話を前にも三回聞きました。もう飽きました。
complaint|plain|出演者の遅刻を笑いにするのは不愉快です。
complaint|plain|配信が何度も止まり、結末を見られませんでした。
complaint|plain|商品の欠点に触れない紹介は信用できません。
complaint|sarcasm|一時間かけて結論が「人それぞれ」とは、恐れ入ります。
complaint|sarcasm|聞こえない声で話す新しい芸風ですか、斬新ですね。
complaint|sarcasm|さすがプロ、台本の誤字まで大声で読んでくれる。
complaint|sarcasm|広告の合間に少しだけ本編が見られて幸せです。
complaint|negation|初心者向けと書いてあるのに、一つも説明がない。
complaint|negation|面白くないとは言わないが、二度見る気はしない。
complaint|mixed|料理はおいしそう。でも手を洗わないのが気になって無理。
complaint|mixed|企画は好きだったのに、身内の話ばかりになって残念。
complaint|question_form|毎回この叫び声、本当に必要だと思っているんですか。
complaint|question_form|なんで肝心なところで切るかな。いつもこれ。
complaint|numbers|十五分のうち十分が宣伝って、ひどすぎる。
complaint|slang|テロップ誤字だらけで萎えた、雑すぎ
question|plain|冒頭に映る白い建物は何という施設ですか？
question|plain|使っている包丁の長さを教えてもらえますか？
question|plain|この列車は冬も走っていますか？
question|plain|ナレーションの方のお名前は何ですか？
question|plain|録音は自宅ですか、それともスタジオですか？
question|plain|材料の粉はどこの店で売っていますか？
question|plain|再放送の予定はもう決まっていますか？
question|no_mark|このカメラの重さ、どのくらいなんだろう
question|no_mark|後ろで鳴っている鳥の種類を知っている方いますか
question|no_mark|ロケ地がどこの島なのか気になって眠れない
question|polite|初めて見ました。出演者はご兄弟なのでしょうか？
question|polite|細かいことですみません、何年に撮った映像ですか？
question|negation|左手の指輪、前回はしていませんでしたよね？
question|negation|先週の予告と違う回では？順番が変わりましたか？
question|numbers|1080と4K、どちらで編集していますか？
question|mixed|大好きな回です。ところで机の上の本は何ですか？
question|slang|で、結局どっちが勝ったん？
request|plain|方言の字幕も出してください。
request|plain|海外のお客さんにも取材してほしいです。
request|plain|準備の様子だけを集めた回が見たいです。
request|plain|雨の日の散歩編もぜひ作ってください。
request|plain|倍速でも聞き取れるように、もう少し間を取って。
request|plain|概要欄に地図を載せてもらえるとうれしい。
request|question_form|夜の配信を一時間早くできませんか？
request|question_form|犬の出番をもう少し増やしてもらえます？
request|question_form|子ども向けの短い版を出す気はありませんか？
request|polite|毎週楽しみです。よければ制作の裏話もお願いします。
request|polite|お忙しいと思いますが、続編を気長に待っています。
request|negation|音楽なしの版も欲しい。波の音だけで聞きたいから。
request|negation|無理に笑わせず、静かな旅に戻してください。
request|mixed|服の回は微妙でした。また道具の回をお願いします。
request|mixed|文句なしの名作。だからこそ英語版も作ってほしい。
request|numbers|月1回じゃ足りません、週1回にしてください。
request|slang|あの三人でもう一回やって、まじで頼む
spam|plain|副業で月収百万円、興味のある方は固定の投稿へ。
spam|plain|当選おめでとうございます、賞品の受け取りはこちらから。
spam|plain|財布もかばんも半額以下、当店の名前で検索を。
spam|plain|占い師の私があなたの運命を無料で見ます、返信ください。
spam|plain|限定コード配布中、今すぐ私のチャンネルへ。
spam|disguised|勉強になりました！私も稼ぎ方を毎日公開しています、見に来てね。
spam|disguised|素晴らしいですね。うちの化粧水なら十歳若く見えますよ、注文はDMで。
spam|disguised|編集がお上手！再生数が伸びる裏技を一万円で教えます。
spam|disguised|泣けました。ところで借金に悩む方、私が必ず救います。
spam|disguised|この猫かわいい！うちの店のペット用品、今なら送料無料。
spam|question_form|まだ満員電車で働くの？自由な暮らしは下のリンクから。
spam|question_form|髪が薄くて悩んでいませんか？この一本で解決、今だけ特価。
spam|question_form|お小遣い欲しい人いる？登録するだけで千円あげる
spam|numbers|9割引 9割引 腕時計 指輪 眼鏡 本日まで
spam|negation|怪しい勧誘ではありません。まず友だち追加して話だけでも。
spam|negation|宝くじを買わないでください、私の予想なら必ず当たります。
spam|slang|相互フォロー募集、秒で返すから来て
"""


def rows():
    for lang, text in (("en", EN), ("ja", JA)):
        for line in text.strip().splitlines():
            label, tag, comment = line.split("|")
            yield {"lang": lang, "input": comment, "target": {"label": label}, "tags": [label, tag]}


if __name__ == "__main__":
    write(Path(__file__).parent, "cc", list(rows()), SEED)
