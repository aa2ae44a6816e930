"""Makes tokenize.json: captions and the tokens that open_clip's SimpleTokenizer makes of them.

    pip install open_clip_torch
    python tokenize.py

Read by the test in core/src/data/tokenize.rs. Tokens are without the padding, start and end included, cut to 16.
"""
