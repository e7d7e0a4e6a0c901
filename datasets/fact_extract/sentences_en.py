"""The English sentences of fact_extract and the names that fill them. A line is kind|sentence."""

# ruff: noqa: E501  (one sentence a line)

SENTENCES = """
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
plain|Good evening from {city}, where the curtain rises on '{event}' in one hour; entry, ${price}, includes tea.
plain|Community board: the library in {city} lends its reading room to '{event}'. Everyone welcome, ${price} in the jar.
plain|Hand over ${price} at the kiosk, find a cushion, and let '{event}' surprise you, one night only in {city}.
plain|The town hall of {city} confirms that '{event}' will go ahead, with admission set at ${price}.
plain|Camera rolling: behind me is the queue for '{event}', the talk of {city}, and each of these people paid ${price}.
plain|Tonight's listener prize is two places at '{event}', worth ${price} each, at the {city} planetarium.
two_prices|'{event}' tickets fell from ${high} to ${price} for the {day} show in {city}.
two_prices|{city}, {day}: '{event}'. Was ${high}, now ${price}.
two_prices|Members used to pay ${price2}; everyone now pays ${price} for '{event}' in {city} on {day}.
two_prices|The {day} screening of '{event}' in {city} costs ${price}, not ${price2} as first printed.
two_prices|Forget ${high}. Someone slashed '{event}' to ${price}, and {city} has it {day}.
two_prices|Parking is ${small}, but '{event}' itself is ${price} on {day} in {city}.
two_prices|Take ${price} for the door of '{event}', {city}, {day}, plus ${small} if you fancy the poster.
two_prices|Shop notice: a '{event}' wristband rings up at ${price} in our {city} store; the sticker saying ${high} is a mistake.
two_prices|Bring your own mug to '{event}' in {city}, since cups cost ${small} on top of the ${price} admission.
two_prices|The organisers of '{event}' wanted ${high}; the council of {city} talked them down to ${price}.
two_prices|Lockers take ${small}, the tram home is free, and '{event}' at the {city} velodrome asks ${price}.
two_prices|Starting today the {city} run of '{event}' goes up: expect ${price} where last week's sign read ${low}.
two_prices|After raising ${total} for the roof, the {city} chapel reopens with '{event}', ${price} per guest.
two_prices|Students grumbled at ${high}, so '{event}' at the {city} campus quietly dropped to ${price}.
two_prices|A refundable ${price2} deposit holds the costume; '{event}' itself, held in {city}, charges ${price}.
two_days|New date for '{event}' in {city}: what was {day2} becomes {day}, still ${price}.
two_days|Not {day2} but {day}: '{event}' comes to {city} for ${price}.
two_days|Phone lines shut {day2}, so reserve '{event}' now: {city}, {day}, ${price} a person.
two_days|Because of rain on {day2}, '{event}' in {city} is now on {day}. Price: ${price}.
two_days|We rehearse on {day2} and perform '{event}' on {day} in {city} for ${price}.
two_days|Sold out on {day2}! '{event}' in {city} adds a {day} show at ${price}.
two_days|Mark {date}, not {date2}, on the kitchen calendar: '{event}' has been booked for {city}, ${price} a chair.
two_days|The {day2} newsletter got it wrong. '{event}' fills the {city} boathouse on {day}, and ${price} is correct.
two_days|Tickets for '{event}' went on sale {date}; ${price} still gets you in on {date2} at the {city} arena.
two_days|Snow closed {city} on {day2}, yet '{event}' will open its doors {day} as promised for ${price}.
two_days|Load-in {day2}, sound check {day}, applause at {hour}: that's '{event}' week in {city}, admission ${price}.
two_days|Refunds end {day2}. Anyone keeping a ${price} stub can walk into '{event}', {city}, up to {day} midnight.
two_cities|After {city2}, '{event}' plays {city} on {day} for ${price}.
two_cities|'{event}' leaves {city2} and lands in {city} this {day}; seats are ${price}.
two_cities|Our host flies in from {city2} for '{event}' in {city}, {day}, ${price}.
two_cities|The {city2} date is cancelled; catch '{event}' in {city} on {day} for ${price}.
two_cities|Yes, we shot '{event}' around {city2}; its first public viewing happens {day} in {city}, ${price}.
two_cities|Fans from {city2} get a bus to {city} for '{event}' on {day}; entry ${price}.
two_cities|Born in a {city2} garage, '{event}' has grown up and now packs halls in {city} at ${price} a time.
two_cities|Viewers in {city2} can only stream it, while the audience for '{event}' in {city} pays ${price} to sit front row.
two_cities|Trains between {city2} and {city} run late so that nobody misses '{event}', a ${price} evening at the latter's opera house.
two_cities|Neither rain nor a {city2} traffic jam stopped the band, and {city} gets '{event}' tonight, ${price} cash only.
two_cities|The mayor of {city2} is jealous: '{event}' chose {city}, charging visitors a modest ${price}.
two_cities|Hello {city}! We parked the van after nine hours from {city2}, and '{event}' starts soon, ${price} please.
two_titles|From the people behind '{event2}' comes '{event}', a ${price} picnic concert on the {city} riverbank.
two_titles|'{event2}' is full, I'm afraid, but the desk still has '{event}' at the {city} museum for ${price}.
two_titles|Don't mix them up: '{event2}' is a free podcast, '{event}' is the ${price} stage version playing in {city}.
two_titles|Having skipped '{event2}' twice, our reviewer spent ${price} on '{event}' in {city} and stayed until the lights came up.
two_titles|Volume two of '{event2}' will have to wait, because {city} is busy with '{event}', ${price} through the turnstile.
mixed|From {city2} to {city}, from {day2} to {day}: '{event}' has a new home. Tickets are ${price}.
mixed|We put out {n} stools for '{event}' in {city} this {day}, each marked down to ${price} from ${high}.
mixed|Doors at {hour}, {day}, {city}. '{event}' costs ${price}, or ${high} with dinner.
mixed|While the {city2} crew still counts its {n} {day2} visitors, {city} prepares '{event}' for {day}, price tag ${price}.
mixed|Last year '{event}' cost ${price2} in {city2}. This year it is ${price} in {city} on {day}.
mixed|On {day} we are in {city}, not {city2}, with '{event}' at ${price}.
mixed|Episode {n} is all about '{event}', hitting {city} {day} with a ${price} door charge.
mixed|Correction to item {n}: '{event}' belongs to {city}, not {city2}, and the fee reads ${price}, not ${high}.
mixed|Only {n} people braved the {city2} rain on {day2}, so '{event}' heads indoors to {city}, ${price}, this {day}.
mixed|Sponsors gave ${total}, {city2} lent the lights, and so '{event}' in {city} can keep its {date} entry to ${price}.
mixed|Row {n}, {day} matinee: my ${price} view of '{event}' in {city} beat the ${high} box I once had in {city2}.
mixed|Flash sale until {hour}! '{event}' by the {city} canal, normally ${high}, drops to ${price}; phone now, {n} left.
mixed|Channel {n}, {date}: our documentary follows '{event}' from {city2} workshops to its first ${price} crowd in {city}.
casual|So, '{event}'! {city}, this {day}, ${price}, and yes, I will be there.
casual|Got ${price} and a free {day}? Come to '{event}' in {city}.
casual|Quick note: '{event}' is on {day}. Same place in {city}, ${price} as always.
casual|My pick of the week is '{event}' in {city}: {day} night, just ${price}.
casual|If you are near {city} on {day}, '{event}' is worth every one of its ${price}.
casual|Do not pay ${high} to resellers: '{event}', {city}, {day}, is ${price} on our site.
casual|Mum asked what ${price} buys these days. Well, Mum, a whole night of '{event}' in {city}.
casual|Sold my old tripod for ${high}, spent ${price} of it on '{event}', see you in {city}, folks.
casual|Honestly? ${price} felt steep until '{event}' made half of {city} cry happy tears.
casual|Who's free {day}? I've got a spare for '{event}', {city}, you just owe me ${price}.
casual|Rumour says '{event}' is secretly back in {city}, same ${price}, wear something warm.
"""

EVENTS = (
    "Harbor Lights|Paper Lanterns|Night Kitchen|Slow Trains|Glass Orchard|Borrowed Summer|Tiny Rockets|"
    "Copper Rain|The Quiet Reel|Second Take|Velvet Static|Open Shutter|Winter Cartoons|Blue Hour Club|"
    "Lost Subtitles|Cardboard Moon|Midnight Edit|Salt and Film|Green Room Tales|Pocket Theater|"
    "Echo Garden|Frame by Frame|Rusty Antenna|Sunday Pixels|Marble Radio|The Long Cut|Puppet Harbor|"
    "Static Bloom|Lantern Jam|Silver Clapboard|Cloud Diner|Thirteen Cameras|Paper Boats|Noise and Tea|"
    "Little Premiere|Hidden Tracks|Moth Parade|Amber Studio|Kite Weather|Last Reel Fair|Ocean Tape|"
    "Bright Attic|Second Breakfast Radio|Tin Can Symphony|The Borrowed Piano|Fog Machine Blues|"
    "Seven Small Doors|Attic Astronomers|Wool and Thunder|A Map of Naps|Postcard Cinema|"
    "The Humming Bridge|Ink Weather|Goose Parade|Low Tide Disco|Bicycle Ballads|The Unpaid Wizard|"
    "Orchard After Dark|Plastic Dinosaurs|Dust and Trumpets|Nine Lost Umbrellas|The Polite Ghost|"
    "Teacup Regatta|Sleepless Puppets|Warm Vinyl|Crooked Stage|The Night Bakers|Gravel Waltz|"
    "Loose Buttons|Window Seat Stories|Signal and Snow|Upside Down Circus|Barefoot Quartet|"
    "The Last Payphone|Wooden Comets|Soup Cabaret|Clay Kingdom|Marble Staircase|Whale Song Karaoke|"
    "Letters to Nobody|Pepper and Pixels|The Folding Chair|Rooftop Fossils|Yarn Galaxy"
)

CITIES = (
    "Osaka|Lisbon|Denver|Oslo|Austin|Kyoto|Dublin|Seattle|Porto|Bergen|Sapporo|Madrid|Boston|Cardiff|"
    "Nagoya|Leeds|Milan|Tampa|Ghent|Krakow|Chicago|Vienna|Prague|Toronto|Glasgow|Naples|Helsinki|Tallinn|"
    "Portland|Montreal|Bristol|Lyon|Zagreb|Tucson|Galway|Malmo|Kobe|Omaha|Antwerp|Halifax"
)
