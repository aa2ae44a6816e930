"""Compares gauntlet's tokens and synonyms of captions with those of open_clip and NLTK, in numbers
and in time.

    cargo build --release -p gauntlet --example captions
    python bench/captions.py FOLDER --wordnet wordnet/usr/share/wordnet [--nasty 20000] [--seed 1]

FOLDER holds img2dataset shards. Tokens: all of its captions and as many broken ones
(tests/golden/bpe.py breaks them), beside open_clip's SimpleTokenizer, and the speed of both on one
thread. Synonyms: all of its words, beside NLTK's, and the share of them that have any. Differences
are printed; the exit code is then 1. tests/golden/bpe.py and synonyms.py list what to install and
where WordNet comes from.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests/golden"))

import bpe  # noqa: E402
import synonyms  # noqa: E402
from open_clip import SimpleTokenizer  # noqa: E402

PROGRAM = HERE.parent / "target/release/examples/captions"
SHOWN = 20


def ours(what, texts):
    """The program's answers, and its line about speed."""
    done = subprocess.run([PROGRAM, what], input=json.dumps(texts), capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr.strip().replace("\n", "; ")


def differing(kind, texts, ours, theirs):
    """Prints how many answers differ, and the first of them; returns their number."""
    wrong = [(text, mine, other) for text, mine, other in zip(texts, ours, theirs, strict=True) if mine != other]
    print(f"{kind}: {len(texts)} compared, {len(wrong)} differ")
    for text, mine, other in wrong[:SHOWN]:
        print(f"  {text!a}\n    ours   {mine}\n    theirs {other}")
    return len(wrong)


def speed(captions):
    """open_clip's captions a second: with an empty cache, and again."""
    tokenizer = SimpleTokenizer(context_length=bpe.CONTEXT_LENGTH)
    rates = []
    for _ in range(2):
        started = time.perf_counter()
        for caption in captions:
            tokenizer.encode(caption)
        rates.append(len(captions) / (time.perf_counter() - started))
    return rates


def tokens(captions, count, seed):
    broken = random.Random(seed)
    nasty = [bpe.nasty(broken) for _ in range(count)]
    mine, said = ours("tokens", captions)
    wrong = differing("captions", captions, mine, bpe.tokens(captions))
    first, later = speed(captions)
    print(f"  ours, one thread: {said}\n  open_clip: first turn: {first:.0f} captions/s; second turn: {later:.0f} captions/s")
    mine, said = ours("tokens", nasty)
    print(f"  broken ones, ours: {said}")
    return wrong + differing("broken captions", nasty, mine, bpe.tokens(nasty))


def words(captions, folder):
    counts = Counter(synonyms.words(captions))
    known = sorted(counts)
    mine, said = ours("synonyms", known)
    wordnet = synonyms.reader(folder)
    wrong = differing("words", known, mine, [synonyms.synonyms(wordnet, word) for word in known])
    having = [word for word, names in zip(known, mine) if names]
    running = sum(counts[word] for word in having)
    print(f"  ours: {said}")
    print(f"  with synonyms: {len(having)} of {len(known)} words ({len(having) / len(known):.1%}),", end=" ")
    print(f"{running} of {counts.total()} running words ({running / counts.total():.1%})")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--nasty", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    captions = bpe.captions_of(*sorted(options.folder.glob("*.tar")))
    wrong = tokens(captions, options.nasty, options.seed) + words(captions, options.wordnet)
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
