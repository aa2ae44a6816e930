"""Makes bpe.json: captions and the tokens that open_clip's SimpleTokenizer makes of them.

    pip install open_clip_torch
    python bpe.py

Read by the test in core/src/data/tokenize.rs. Tokens are without the padding, start and end included, cut to 16.
"""

import json
from pathlib import Path

from open_clip import SimpleTokenizer

CAPTIONS = [
    "a photo of a cat",
    "A Photo of TWO dogs, playing in the snow!",
    "the children's playground isn't open; they'll be back",
    "3 apples and 12 oranges (2019)",
    "black-and-white portrait #portrait @studio 50% off",
    "unbelievably photorealistic hyperdetailed watercolour",
    "café in Zürich, naïve façade",
    "東京の夜景",
    "smile \U0001f600 and wave \U0001f44b",
    "  spaces   everywhere\tand a tab ",
    "e-mail: someone@example.org",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "",
]


def main():
    tokenizer = SimpleTokenizer(context_length=16)
    rows = tokenizer(CAPTIONS).tolist()
    golden = [[caption, [token for token in row if token != 0]] for caption, row in zip(CAPTIONS, rows)]
    text = "[\n" + ",\n".join(json.dumps(pair) for pair in golden) + "\n]\n"
    Path(__file__).with_name("bpe.json").write_text(text)


if __name__ == "__main__":
    main()
