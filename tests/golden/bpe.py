"""Makes bpe.json: captions and their tokens by open_clip's SimpleTokenizer, with its default
cleaning.

    pip install open_clip_torch==3.3.0 ftfy==6.3.1
    python bpe.py

Read by the test in data/src/tokenize.rs. Tokens have no padding, start and end included, cut to 77.
The captions are those of tests/fixtures/clipart, a list written by hand, and a seeded list of
captions broken in all the ways below; `bench/captions.py` compares thousands more. Two kinds of
text cannot be here: lone surrogates, which no UTF-8 file holds, and characters that Python 3.11
(Unicode 14) does not know, whose classes, cases and compositions depend on each program's Unicode.
"""

import html
import json
import random
import tarfile
import unicodedata
from importlib.metadata import version
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

HERE = Path(__file__).parent
CONTEXT_LENGTH = 77
GENERATED = 300

PLAIN = [
    "a photo of a cat",
    "A Photo of TWO dogs, playing in the snow!",
    "the children's playground isn't open; they'll be back",
    "3 apples and 12 oranges (2019)",
    "black-and-white portrait #portrait @studio 50% off",
    "unbelievably photorealistic hyperdetailed watercolour",
    "  spaces   everywhere\tand a tab ",
    "e-mail: someone@example.org",
    "https://example.org/a_b/c-d?e=f#g",
    "snake_case __init__ _ __ a_1_b",
    "DON'T SHE'LL WE'VE I'M YOU'RE HE'D IT'S",
    "don''t 's's 'S'T 're'RE o'clock rock'n'roll",
    "1234567890 1,000.50 1e-3 0x1F",
    "!!! ??? ... --- ~~~ $$$ @#%^*()",
    "a\nb\r\nc\rd\fe\vf",
    "tab\there, form\ffeed",
    "",
    " ",
    "\n\t \r\n",
    "!",
    "0",
    "x" * 300,
    "supercalifragilisticexpialidocious" * 4,
    "one two three four five six seven eight nine ten " * 10,
    "a" * 76,
    "a " * 74,
    "a " * 75,
    "a " * 76,
    "a " * 200,
    "word, " * 60,
]

SPECIAL = [
    "<start_of_text>",
    "<end_of_text>",
    "<START_OF_TEXT> shouted <End_Of_Text>",
    "a<start_of_text>b<end_of_text>c",
    "<start_of_text",
    "<<end_of_text>>",
    "< end_of_text >",
    "!<end_of_text>!",
    "<|startoftext|> and <|endoftext|>",
    "<\u017ftart_of_text> with a long s",
    "&lt;end_of_text&gt;",
    "&amp;lt;end_of_text&amp;gt;",
    "<end_of_text>" * 80,
    "<start_of\u200b_text>",
    "\uff1cend_of_text\uff1e",
    "it'\u017f long s, and it'\u017ft",
]

ACCENTS = [
    "caf\u00e9 in Z\u00fcrich, na\u00efve fa\u00e7ade",
    "cafe\u0301 in Zu\u0308rich, nai\u0308ve fac\u0327ade",
    "a\u0301\u0302\u0303\u0304\u0305 zalgo\u0489\u0336",
    "\u0301 lone mark, x\u0301 not composed, q\u0307\u0323 two marks",
    "\u1e9b\u0323 \u0344 \u212b \u2126 \u212a \ufb1d",
    "\u1100\u1161\u11a8 \uac01 \u1112\u1161\u11ab\u1100\u1173\u11af \ud55c\uae00",
    "\u0958 \u0915\u093c \u09dc \u0b5c",
    "Vi\u1ec7t Nam, Vie\u0323\u0302t Nam",
    "\u0130stanbul, \u0130\u0130, I\u0307, d\u0131\u015f, DI\u015e",
    "STRASSE STRA\u1e9eE stra\u00dfe",
    "\u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3 \u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3. \u03a3 A\u03a3 A\u03a3B \u03a3\u0301A A\u03a3\u0301 A\u03a3:B",
    "\u01c5 \u01c8 \u01cb \u01f2 \u1f88 \u1fbc \u1ffc \u1c90 \u10a0 \uab70 \u13a0",
    "\u0149 \u0132sselmeer \u0133s \u01c4 \u01c6 \u01f1",
    "\u00b5m \u03bcm \u2103 \u2109 \u2116 \u2122 \u210e",
    "\u1fb3 \u03b1\u0345 \u0345 x\u0345y !\u0345! \u1f82 \u1f8a",
    "\u1d00\u1d03 \U0001d400\U0001d41b\U0001d4d2 \u24b6\u24d1 \U0001f130\U0001f170",
]

SCRIPTS = [
    "\u6771\u4eac\u306e\u591c\u666f",
    "\u4e2d\u6587\uff0c\u5168\u89d2\u6a19\u9ede\u3002\u3010\u62ec\u865f\u3011\u300c\u5f15\u300d\u2014\u2014",
    "\u3072\u3089\u304c\u306a \u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85 \uff76\uff9e\uff8a\uff9f \u30ab\u3099",
    "\ud55c\uad6d\uc5b4 \ucea1\uc158 \uff77 \uffa1\uffc2\uffa4",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645\u060c \u200f\u0645\u0631\u062d\u0628\u0627\u200e \u0661\u0662\u0663",
    "\u05e9\u05c1\u05dc\u05d5\u05b9\u05dd \u202bright\u202c \u2067to left\u2069",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937 \u0930\u094d\u200d\u0915 \u0967\u0968\u0969",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0e51\u0e52\u0e53",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0419\u0439 \u0418\u0306\u0438\u0306 \u0401\u0451",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u1f00\u03c1\u03c7\u03ae \u1fb3",
    "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u1201\u120e \u13e3\u13b3\u13a9 \u1820\u1828",
    "\ua9b1 \U00011103\U00011127 \U0001e900\U0001e922 \U00010400\U00010428",
]

NUMBERS_AND_BLANKS = [
    "x\u00b2 + y\u00b3 = \u00bd, \u2153, \u2460 \u2474 \u2488 \u2776 \u3007 \u3021 \u5341",
    "\u2160\u2161\u216b \u2170\u217b \u2180 \U0001d7ce\U0001d7d8 \U00010107 \u0f33",
    "\u0967\u06f1\u0661\uff11\U0001d7cf",
    "a\u00a0b\u2002c\u2003d\u2009e\u200af\u202fg\u205fh\u3000i",
    "a\u2028b\u2029c\u0085d",
    "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh\u115fi\u3164j\uffa0k",
    "\ufeffmark in front, mark at the end\ufeff",
    "\u1680ogham\u1680 blank",
    "\u2000\u2001\u2004\u2005\u2006\u2007\u2008",
]

EMOJI = [
    "smile \U0001f600 and wave \U0001f44b",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f44d\U0001f3fb\U0001f44d\U0001f3ff thumbs",
    "\U0001f1e9\U0001f1ea\U0001f1ef\U0001f1f5 flags \U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
    "\u2764\ufe0f \u2764\ufe0e 1\ufe0f\u20e3 #\ufe0f\u20e3 \u00a9\ufe0f",
    "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f9d1\U0001f3fd\u200d\U0001f4bb",
    "(\u256f\u00b0\u25a1\u00b0)\u256f\ufe35 \u253b\u2501\u253b \u00af\\_(\u30c4)_/\u00af \u0ca0_\u0ca0 (\u0e07'\u0300-'\u0301)\u0e07",
    "\u2600\u2601\u2602 \u2713\u2714 \u2605\u2606 \u266a\u266b \u2192\u21d2",
]

ENTITIES = [
    "fish &amp; chips",
    "fish &amp;amp; chips",
    "fish &amp;amp;amp; chips &amp;amp;amp;amp;",
    "&lt;b&gt;bold&lt;/b&gt; <i>italic &amp; so on</i>",
    "&quot;quoted&quot; &apos;single&apos; &#39;x&#39; &#x27;y&#X27;",
    "caf&eacute; CAF&EACUTE; &Eacute; &eacute &Eacute &EACUTE",
    "&nbsp;&nbsp; &ensp;&emsp;&thinsp;&zwj;&zwnj;&shy;&lrm;",
    "&copy2019 &reg &para; &parallel &notit; &notin; &notin &not &no &n",
    "&ampamp; &ampersand &AMP &AMP; &Amp; &aMP;",
    "&#8217;s &#x2019;s &#146;s &#x92;s &#133; &#150;",
    "&#0; &#00; &#x0; &#13; &#10; &#9; &#32; &#160; &#127; &#128; &#129; &#141; &#159;",
    "&#1; &#8; &#11; &#14; &#27; &#31; &#65534; &#65535; &#64976; &#131070;",
    "&#55357;&#56832; &#xD83D; &#xDFFF; &#1114111; &#1114112; &#99999999999999999999;",
    "&#128512; &#x1F600; &#128512 &#x1F600 &#12abc; &#xg; &#; &# &#x; & ; &; &&amp;&",
    "&#59; &#38;amp; &#38;#38;amp; &amp;#39; &amp;#x27; &amp;#8217;",
    "&lt;&lt;&gt;&gt;&le;&ge; &hearts;&spades; &rarr; &infin; &NotEqualTilde; &bne; &fjlig;",
    "&CounterClockwiseContourIntegral; &CounterClockwiseContourIntegra; &thetasym &thetasym; &theta",
    "&acE; &nvlt; &ThickSpace; &NegativeThinSpace; &Tab; &NewLine; &ic; &af;",
    "AT&T, R&D, Q&A, B&B, &c., a&b&c",
    "&szlig; &SZLIG; &NTILDE; &nTILDE; &YEN; &POUND; &TIMES; &FRAC12; &HELLIP;",
    "a &lt b &gt c &quot d &amp e &nbsp f",
    "&averyveryveryveryveryverylongname; &averyveryveryveryveryverylongnameindeed;",
    "x &\u00e9; &\u00e9acute; &ac\u00e9; &amp\u00e9; &lt\u4e2d",
    "first < second &amp; third &eacute;",
    "one &eacute; line\nthen < here &eacute;\nand &eacute; after",
    "&Aacute;&atilde;&sup3; &Atilde;&copy; &acirc;&euro;&trade;",
    "&#195;&#169; &#xe2;&#x20ac;&#x2122; &Atilde;&#169;",
    "&ffilig; &fflig; &IJlig; &OElig;",
]

CONTROLS = [
    "nul\0nul, bell\x07, backspace\x08, vertical\x0btab, escape\x1b, unit\x1f, delete\x7f",
    "\x1b[31mred\x1b[0m and \x1b[1;32;44mbold\x1b[m \x1b[2K\x1b[?25l \x1b]0;title\x07",
    "\x1b[\u0661m arabic digits \x1b[1;m \x1b[;;H \x1b[",
    "\x1b\x1b[0m[31mnested",
    "\x80\x81\x82\x85\x91\x92\x93\x94\x96\x97\x99\x9d\x9f",
    "it\x92s a \x93quote\x94 \x96 dash \x85",
    "C1 \x81 \x8d \x8f \x90 \x9d that nobody assigned",
    "\u206a\u206f\ufff9\ufffa\ufffb\ufffc\ufffd\ufffe\uffff\ufdd0",
    "\U000e0001\U000e0020\U000f0000\U0010ffff\ue000\uf8ff",
    "\U0001d173\U0001d17a \u202a\u202e \u2066\u2069 \u061c",
    "&#27;[31mred&#27;[0m &#x1b;[1m",
    "\x1c\x1d\x1e\x1fseparators\x1c",
]

QUOTES_AND_WIDTHS = [
    "\u2018single\u2019 \u201cdouble\u201d \u201alow\u2019 \u201elow\u201d \u201brev\u2018 \u201frev\u201c",
    "don\u2019t it\u2018s we\u02bcve I\u2032m you\u02b9re \uff07s \u00b4s `s",
    "\u00abguillemets\u00bb \u2039single\u203a \u300ccorner\u300d",
    "en\u2013dash em\u2014dash \u2012 \u2015 \u2010 \u2011 \u2212 ellipsis\u2026 bullet\u2022",
    "\uff26\uff55\uff4c\uff4c \uff37\uff49\uff44\uff54\uff48 \uff11\uff12\uff13\uff01\uff1f\uff06\uff1b",
    "\uff06amp\uff1b \uff06lt\uff1b &\uff23opy;",
    "\uffe0\uffe1\uffe2\uffe3\uffe4\uffe5\uffe6 \uffe8\uffe9\uffed\uffee \uff5f\uff60",
    "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06 \ufb13\ufb17 \u00e6\u0153",
    "\u1d2c\u1d43 \u2095 \u02b0 \u00aa \u00ba",
]

MOJIBAKE = [
    "\u00c3\u00a9t\u00c3\u00a9 \u00c3\u00a0 la plage",
    "don\u00e2\u20ac\u2122t \u00e2\u20ac\u0153quote\u00e2\u20ac\u009d \u00e2\u20ac\u201c dash \u00e2\u20ac\u00a6",
    "\u00e2\u20ac\u0153lossy\u00e2\u20ac\ufffd quotes",
    "The Mona Lisa doesn\u00c3\u0192\u00c2\u00a2\u00c3\u00a2\u00e2\u20ac\u0161\u00c2\u00ac\u00c3\u00a2\u00e2\u20ac\u017e\u00c2\u00a2t have eyebrows",
    "l\u2019humanit\u00c3\u00a9, d\u00c3\u00a9j\u00c3 vu, voil\u00c3 le travail, \u00c3 la carte, \u00c3 s vezes, \u00c3 quele",
    "\u00c3 perturber la r\u00c3\u00a9flexion",
    "\u00f0\u0178\u02dc\u20ac \u00f0\u0178\u2018\u008d \u00f0\u0178\u2019\u00a9 \u00f0\u0178\u00a4\u201d",
    "\u00c2\u00a9 2019 \u00c2\u00ae \u00c2\u00bd \u00c2\u00b0C \u00c2\u00a35 25\u00c2\u00b0 \u00c2 \u00c2",
    "\u00e6\u009d\u00b1\u00e4\u00ba\u00ac \u00e4\u00b8\u00ad\u00e6\u2013\u2021",
    "\u00d0\u0178\u00d1\u20ac\u00d0\u00b8\u00d0\u00b2\u00d0\u00b5\u00d1\u201a \u0420\u045f\u0421\u0402\u0420\u0451\u0420\u0406\u0420\u00b5\u0421\u201a",
    "\u0432\u0402\u201c \u0432\u0402\u2122 \u0413\u045e\u0412\u0402\u0412\u2122a",
    "\u03b2\u20ac\u2122 \u0393\u00a9\u0393\u00a8 \u0101\u20ac\u2122 \u0101\u20ac\u0153x\u0101\u20ac\u009d",
    "Z\u221a\u00barich caf\u221a\u00a9 \u201a\u00c4\u00f4 \u201a\u00c4\u00ec",
    "Z\u251c\u255drich caf\u251c\u2310 \u0393\u00c7\u00d6 \u0393\u00c7\u00aa",
    "pi\u0139\u0083kny \u0139\u015f\u00f3\u0139\u201aw \u010f\u017c\u02dd",
    "\u00d8\u00a7\u00d9\u201e\u00d8\u00b3\u00d9\u201e\u00d8\u00a7\u00d9\u2026 \u00d7\u00a9\u00d7\u0153\u00d7\u2022\u00d7\u009d",
    "AHÅ™, the new sofa from IKEA\u00ae",
    "r\u00eda \u00c1NGEL ni\u00f1o \u00bfqu\u00e9? \u00a1s\u00ed! \u00c5 i \u00e5a \u00e4 e \u00f6",
    "clean \u00e9 and broken \u00c3\u00a9 \u4e2d side by side \u00e2\u20ac\u2122",
    "\u00ed\u00a0\u00bd\u00ed\u00b8\u008d CESU-8 \u00c0\u0080 nul",
    "\u00ed\u00a0\u00bd\u00ed\u00b8\n\u00c3\u00a9\u00c0\nx",
    "\u00ed\u00a0\u00bd alone \u00c3\u00a9",
    "\u00ed\u2022\u0153\u00ea\u00b5\u00ad\u00ec\u2013\u00b4",
    "\u00c3?t\u00c3? que\u00c3\u00b1o se\u00c3?or",
    "\u00e2\u20ac?what?\u00e2\u20ac\u2122 \u00e2??",
    "\u00c3\u0192\u00c6\u2019\u00c3\u2020\u00e2\u20ac\u2122\u00c3\u0192\u00e2\u20ac\u0161 many layers",
    "100\u00a2 \u00a35\u00a0000 \u00bd\u00bc \u00a7 5 \u00b6 6 \u00b1 1 \u00d7 2 \u00f7 3",
    "\u0152uvre \u0153uf c\u0153ur \u0152 \u0153\u2122",
    "\u00c0\u00c1\u00c2\u00c3\u00c4\u00c5 \u00e0\u00e1\u00e2\u00e3\u00e4\u00e5 \u00d0\u00de\u00f0\u00fe",
    "\u00c5\u0081\u00c3\u00b3d\u00c5\u00ba \u00c4\u2026\u00c4\u2122",
    "a \u00c3 b \u00c2 c \u00e2 d \u00c3\u00a0\u00e2 e",
]

HAND = [*PLAIN, *SPECIAL, *ACCENTS, *SCRIPTS, *NUMBERS_AND_BLANKS, *EMOJI, *ENTITIES, *CONTROLS, *QUOTES_AND_WIDTHS, *MOJIBAKE]

WORDS = (
    "a the photo of Paris sunset DOG's it's won't I'LL caf\u00e9 na\u00efve \u00dcber \u00e5ngstr\u00f6m gar\u00e7on \u0141\u00f3d\u017a \u0130zmir "
    "\u041c\u043e\u0441\u043a\u0432\u0430 \u0391\u03b8\u03ae\u03bd\u03b1\u03c2 \u6771\u4eac \ud55c\uad6d \u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645 100% 3.14 \u00bd \u20ac5 \u00a9 \u2122 \u2026 \u2014 \u201cquoted\u201d don\u2019t "
    "\U0001f600 \U0001f44d\U0001f3fd \u2764\ufe0f & < > &amp; &eacute; &#233; &lt; snake_case <end_of_text> \u00e2 \u00c3 \u00c2 \ufb01ne \uff21\uff22 \u00a0 \u200b \ufeff"
).split(" ")

PAGES = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso-8859-2", "mac-roman", "cp437"]

# Ranges of characters that no word above has; the last is all of them.
RANGES = [(0, 0x100), (0x80, 0x180), (0x2000, 0x2070), (0x0370, 0x0530), (0xFF00, 0xFFFF), (0x0300, 0x0370), (0x1F00, 0x2000), (0, 0x110000)]


def is_noncharacter(code):
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def known(text):
    """Whether every character is text, and of Unicode 14."""
    return all(unicodedata.category(char) != "Cs" and (unicodedata.category(char) != "Cn" or is_noncharacter(ord(char))) for char in text)


def misread(rng, text):
    """Text whose UTF-8 was read in another code page, perhaps with losses."""
    page = rng.choice(PAGES)
    data = text.encode("utf-8")
    if rng.random() < 0.3:
        data = data.replace(b"\xa0", b" ")
    text = data.decode(page, errors=rng.choice(["replace", "ignore"])) if page != "latin-1" else data.decode(page)
    if rng.random() < 0.1:
        text = text.replace("\ufffd", "?")
    return text


def escaped(rng, text):
    """Text with some of its characters written as HTML entities."""
    forms = [html.escape, lambda char: f"&#{ord(char)};", lambda char: f"&#x{ord(char):x};", lambda char: f"&#{ord(char)}"]
    names = {chars: name for name, chars in html.entities.html5.items() if len(chars) == 1}
    forms += [lambda char: f"&{names.get(char, 'amp;')}", lambda char: f"&{names.get(char, 'amp;')}".upper()]
    return "".join(rng.choice(forms)(char) if rng.random() < 0.3 else char for char in text)


def scattered(rng, text):
    """Text with a few characters from anywhere among its own."""
    chars = list(text)
    for _ in range(rng.randint(1, 4)):
        low, high = rng.choice(RANGES)
        char = chr(rng.randrange(low, high))
        if known(char):
            chars.insert(rng.randint(0, len(chars)), char)
    return "".join(chars)


def cut(rng, text):
    """Text without a part of its middle, so that sequences break."""
    at = rng.randint(0, len(text))
    return text[:at] + text[at + rng.randint(1, 2) :]


BREAKS = [
    misread,
    misread,
    misread,
    escaped,
    scattered,
    cut,
    lambda rng, text: unicodedata.normalize(rng.choice(["NFD", "NFKD", "NFC"]), text),
    lambda rng, text: rng.choice([str.upper, str.lower, str.title, str.swapcase])(text),
    lambda rng, text: html.escape(text),
]


def nasty(rng):
    """One caption, broken up to four times; before and after cleaning of known characters."""
    while True:
        text = rng.choice([" ", " ", " ", "", "\n"]).join(rng.choices(WORDS, k=rng.randint(1, 9)))
        for _ in range(rng.randint(1, 4)):
            text = rng.choice(BREAKS)(rng, text)
        if known(get_clean_fn("lower")(text)):
            return text


def captions_of(*tars):
    """All captions of img2dataset shards."""
    captions = []
    for path in tars:
        with tarfile.open(path) as tar:
            captions += [tar.extractfile(member).read().decode() for member in tar if member.name.endswith(".txt")]
    return captions


def tokens(captions):
    """open_clip's tokens of each."""
    tokenizer = SimpleTokenizer(context_length=CONTEXT_LENGTH)
    rows = tokenizer(captions).tolist()
    # Padding is 0, and so is a "!" inside of a word; the last end of text is the end.
    return [row[: len(row) - row[::-1].index(tokenizer.eot_token_id)] for row in rows]


def main():
    assert version("open_clip_torch").startswith("3.3.") and version("ftfy") == "6.3.1"
    rng = random.Random(0)
    captions = [*captions_of(HERE.parent / "fixtures/clipart/00000.tar"), *HAND, *(nasty(rng) for _ in range(GENERATED))]
    captions = list(dict.fromkeys(captions))
    assert all(known(caption) for caption in captions)
    pairs = ",\n".join(json.dumps(pair) for pair in zip(captions, tokens(captions)))
    (HERE / "bpe.json").write_text(f'{{"context_length": {CONTEXT_LENGTH}, "captions": [\n{pairs}\n]}}\n')


if __name__ == "__main__":
    main()
