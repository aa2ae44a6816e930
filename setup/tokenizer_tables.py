"""Rebuilds data/src/tokenize/tables.json: the code pages, entities and mojibake patterns for
cleaning captions.

    pip install ftfy==6.3.1
    python setup/tokenizer_tables.py            # writes the file
    python setup/tokenizer_tables.py --check    # only checks that it is up to date

Code pages and entities are Python's. The classes and patterns that detect mojibake are ftfy's
(Apache-2.0, by Robyn Speer; see the NOTICE beside the file). They are written without Python's
verbose syntax and with its classes expanded, for Rust's `regex`.
"""

import argparse
import html.entities
import json
import re
import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

import ftfy.badness
import ftfy.chardata

TABLES = Path(__file__).parents[1] / "data/src/tokenize/tables.json"
FTFY = "6.3.1"
WORD = r"[\p{L}\p{N}_]"
SPACE = r"[\t-\r\x1c-\x20\x85\xa0\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}]"


def check_classes():
    """Python's `\\w` and `\\s` equal WORD and SPACE, within this Python's Unicode version."""
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        word = unicodedata.category(char)[0] in "LN" or char == "_"
        assert bool(re.match(r"\w", char)) == word, f"U+{code:04X}"
    spaces = {code for code in range(sys.maxunicode + 1) if re.match(r"\s", chr(code))}
    spelt = {*range(9, 14), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)}
    assert spaces == spelt | {0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def terse(pattern):
    """A verbose pattern without its blanks and comments, outside of character classes."""
    out, at, inside = [], 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            escape = pattern[at : at + 2]
            assert not (inside and escape in (r"\w", r"\s", r"\d", r"\b")), escape
            out.append({r"\w": WORD, r"\s": SPACE}.get(escape, escape))
            at += 2
            continue
        if not inside and char == "#":
            at = pattern.index("\n", at)
        elif inside or char not in " \t\n\r\v\f":
            inside = char != "]" if inside else char == "["
            out.append(char)
        at += 1
    return "".join(out)


def in_bytes(pattern):
    """A pattern over bytes: ASCII as it is, every other byte as an escape."""
    return "(?-u)" + "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in pattern)


def upper_half(encoding):
    """The characters of bytes 80 to FF; ftfy's sloppy pages read an unassigned byte as Latin-1
    does."""
    return bytes(range(0x80, 0x100)).decode(encoding)


def tables():
    assert version("ftfy") == FTFY, f"this needs ftfy {FTFY}"
    check_classes()
    lookbehind, detector = re.fullmatch(r"\(\?<!(\[.*?\])\)(.*)", terse(ftfy.chardata.UTF8_DETECTOR_RE.pattern)).groups()
    entities = html.entities.html5
    shouted = {name[1:]: text for name, text in ftfy.chardata.HTML_ENTITIES.items() if name[1:] not in entities}
    return {
        "code_pages": {name: upper_half(name) for name in ftfy.chardata.CHARMAP_ENCODINGS},
        "mojibake": terse(ftfy.badness.BADNESS_RE.pattern),
        "utf8": detector,
        "utf8_not_after": lookbehind,
        "altered_utf8": in_bytes(ftfy.chardata.ALTERED_UTF8_RE.pattern),
        "lossy_utf8": in_bytes(ftfy.chardata.LOSSY_UTF8_RE.pattern),
        "ligatures": {chr(code): text for code, text in ftfy.chardata.LIGATURES.items()},
        "entities": dict(sorted(entities.items())),
        "shouted_entities": dict(sorted(shouted.items())),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = json.dumps(tables(), indent=0, ensure_ascii=True) + "\n"
    if not check:
        TABLES.write_text(text)
    elif TABLES.read_text() != text:
        sys.exit(f"{TABLES} is not what this script makes")


if __name__ == "__main__":
    main()
