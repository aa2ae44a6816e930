"""Makes synonyms.json: words and the synonyms that EDA's release finds for them with NLTK.

    pip install nltk==3.10.4
    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet     # or any other copy of WordNet 3.0's dict folder
    python synonyms.py wordnet/usr/share/wordnet

Read by the test in data/src/eda/wordnet.rs. The words are a seeded choice of those in
tests/fixtures/clipart and a list written by hand, of irregular, inflected and unknown ones. NLTK
reads WordNet's own files here; `setup/wordnet.py`, which makes gauntlet's table, shares no code
with it.
"""

import json
import random
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import nltk
from bpe import captions_of
from nltk.corpus.reader.wordnet import WordNetCorpusReader

HERE = Path(__file__).parent
CHOSEN = 250

HAND = """
    geese mice children feet teeth wolves leaves knives boxes churches watches brushes buzzes flies men women firemen axes data oxen
    ran better best worse worst further was is are been did went gone bought children's running swimming dying lying tying ties
    bigger biggest nicer nicest happier prettiest photos photographed photographing glasses glass ss as us s a i in at it one two ten
    dogs dog cats cat goose fishes series species media indices index aurar offer offers left lefts blorn xyzzy zzzz aaaa q usa paris
    comics stripteases ing ed er est men's e z hotdog icecream funnies newspapers sheep fish aircraft people persons person quickly
    well ill hard fast faster fastest under over mused ladies lady blessed saw saws sawed bases basis lives live living lied
""".split()


def reader(folder):
    """NLTK's WordNet over the database's own files. Two files that NLTK needs for other functions
    are empty."""
    data = Path(tempfile.mkdtemp())
    home = data / "corpora/wordnet"
    shutil.copytree(folder, home)
    (home / "index.sense").touch()
    (home / "lexnames").write_text("".join(f"{at:02}\tfile{at:02}\t1\n" for at in range(45)))
    nltk.data.path.insert(0, str(data))
    return WordNetCorpusReader(str(home), None)


def synonyms(wordnet, word):
    """EDA's: each name of each meaning, reduced to lower-case letters and spaces, except the word
    itself."""
    names = {name for synset in wordnet.synsets(word) for name in synset.lemma_names()}
    spelt = {"".join(char for char in re.sub("[_-]", " ", name).lower() if char in "abcdefghijklmnopqrstuvwxyz ") for name in names}
    return sorted(spelt - {word})


def words(captions):
    """The words of captions by EDA's release, each as often as it occurs."""
    return [word for caption in captions for word in re.findall("[a-z]+", re.sub("['\u2019]", "", caption).lower())]


def main():
    assert version("nltk") == "3.10.4"
    wordnet = reader(Path(sys.argv[1]))
    known = sorted(set(words(captions_of(HERE.parent / "fixtures/clipart/00000.tar"))))
    chosen = random.Random(0).sample(known, min(CHOSEN, len(known))) + words(HAND)
    golden = {word: synonyms(wordnet, word) for word in sorted(set(chosen))}
    lines = ",\n".join(f"{json.dumps(word)}: {json.dumps(names)}" for word, names in golden.items())
    (HERE / "synonyms.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
