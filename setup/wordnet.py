"""Rebuilds data/src/eda/wordnet.txt.gz, the synonyms that EDA takes from WordNet 3.0.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet     # or any other copy of WordNet 3.0's dict folder
    python setup/wordnet.py wordnet/usr/share/wordnet            # writes the table
    python setup/wordnet.py wordnet/usr/share/wordnet --check    # only checks that it is up to date

A line is a word and its fields, separated by tabs, in the order of the words:

    geese   n=goose            an irregular form as a noun, and its base forms; v, a, r: as verb, adjective, adverb
    goose   n,bozo,cuckoo,...  the names of its meanings as a noun, its own among them

Words are those that EDA can ask for, a to z only, and their base forms. Names are written as EDA's
release writes them: lower case, `_` and `-` as spaces, all but letters removed. Some become empty
by that, like the `1` of "one".
"""

import argparse
import gzip
import hashlib
import re
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "data/src/eda/wordnet.txt.gz"
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
# Of all files read, each preceded by its name, in the order in which they are read.
SHA256 = "3a65e586325b15b7e77b516dc0eb947c3a761806f120a04fcc57433a03bb0ad4"


def read(folder):
    """The text of each file, after checking that all are WordNet 3.0's."""
    texts, digest = {}, hashlib.sha256()
    for part in PARTS.values():
        for name in (f"data.{part}", f"index.{part}", f"{part}.exc"):
            data = (folder / name).read_bytes()
            digest.update(name.encode() + b"\n" + data)
            texts[name] = data.decode("ascii")
    if digest.hexdigest() != SHA256:
        sys.exit(f"{folder} does not hold the files of WordNet 3.0: their hash is {digest.hexdigest()}")
    return texts


def entries(text):
    """Lines after the licence, which comes first, indented."""
    return (line.split() for line in text.splitlines() if not line.startswith("  "))


def as_eda_writes_it(name):
    return "".join(char for char in re.sub("[_-]", " ", name).lower() if char in "abcdefghijklmnopqrstuvwxyz ")


def known_of_words(texts):
    """Word -> its fields, for every word and part of speech."""
    known = {}
    for letter, part in PARTS.items():
        synsets = {}
        for offset, _, _, count, *rest in entries(texts[f"data.{part}"]):
            # "beautiful(a)": adjectives note their position.
            names = [re.sub(r"\((a|p|ip)\)$", "", name) for name in rest[: 2 * int(count, 16) : 2]]
            synsets[offset] = names
        lemmas = {}
        for lemma, _, count, *rest in entries(texts[f"index.{part}"]):
            lemmas[lemma] = sorted({as_eda_writes_it(name) for offset in rest[-int(count) :] for name in synsets[offset]})
        # Later lines win, as in NLTK.
        irregular = {form: bases for form, *bases in entries(texts[f"{part}.exc"]) if re.fullmatch("[a-z]+", form)}
        wanted = {lemma for lemma in lemmas if re.fullmatch("[a-z]+", lemma)}
        wanted |= {base for bases in irregular.values() for base in bases if base in lemmas}
        for lemma in wanted:
            known.setdefault(lemma, []).append(letter + "".join(f",{name}" for name in lemmas[lemma]))
        for form, bases in irregular.items():
            known.setdefault(form, []).append(letter + "=" + "=".join(base for base in bases if base in lemmas))
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="WordNet's dict folder")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    known = known_of_words(read(options.folder))
    text = "".join("\t".join([word, *known[word]]) + "\n" for word in sorted(known)).encode("ascii")
    if not options.check:
        TABLE.write_bytes(gzip.compress(text, 9, mtime=0))
    elif gzip.decompress(TABLE.read_bytes()) != text:
        sys.exit(f"{TABLE} is not what this script makes")


if __name__ == "__main__":
    main()
