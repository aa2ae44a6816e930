"""Rebuilds data/src/classes/plurals.txt.gz, from WordNet 3.0: the nouns, and those of their plurals
that no rule makes.

    python setup/plurals.py wordnet/usr/share/wordnet            # writes the table; setup/wordnet.py says how to get that folder
    python setup/plurals.py wordnet/usr/share/wordnet --check    # only checks that it is up to date

A line is a noun of one word, in alphabetical order, and after a tab what differs from its regular
plurals (`regular` below and in data/src/classes/inflect.rs, which must stay the same):

    banana                 bananas
    goose   geese          geese, and gooses
    glass   !glasses       glasses (for the eyes) are another noun: "glasses" does not name glass

WordNet's irregular forms (noun.exc) are plurals. So is what the rules make, unless it is a noun by
itself that shows another thing. Of 654 regular plurals that WordNet has as nouns too, most show the
same thing: a caption with "bowls" names bowl, though bowls is a game as well. Excluded are those of
a letter or two (us is not the plural of u) and those that are listed below.
"""

import argparse
import gzip
import re
import sys
from pathlib import Path

from wordnet import entries, read

TABLE = Path(__file__).parents[1] / "data/src/classes/plurals.txt.gz"

# Worn, or tools of one piece, or words that only look like plurals: chosen by hand from WordNet's
# nouns.
OTHER_THINGS = """
    bellows bleachers breeches briefs corps customs dynamics eyeglasses genus glasses kansas laos levis mars means mews mores nylons
    philippines physics shears shorts slacks species specs spectacles sunglasses wales
    cola dive hypochondria lei roma signore stamina trivia vela
""".split()

# What WordNet's list lacks: it has no people for person.
FURTHER = {"person": ["people"]}


def regular(noun):
    """The plurals that rules make: more than one where the rule cannot know which (monarchs,
    churches; pianos, potatoes)."""
    if re.search("[^aeiou]y$", noun):
        return [noun[:-1] + "ies"]
    if re.search("(s|x|z|sh)$", noun):
        return [noun + "es"]
    if re.search("(ch|[^aeiou]o)$", noun):
        return [noun + "s", noun + "es"]
    return [noun + "s"]


def plurals(texts):
    """Noun -> its fields, for every noun of one word."""
    nouns = {lemma for lemma, *_ in entries(texts["index.noun"]) if re.fullmatch("[a-z]+", lemma)}
    irregular = {noun: list(forms) for noun, forms in FURTHER.items()}
    for form, *bases in entries(texts["noun.exc"]):
        for base in bases:
            if re.fullmatch("[a-z]+", form) and base in nouns and form != base and form not in regular(base):
                irregular.setdefault(base, []).append(form)
    for noun in nouns:
        # WordNet's rule for the many that its list lacks.
        if noun.endswith("man") and noun[:-2] + "en" not in irregular.get(noun, []) and noun != "human":
            irregular.setdefault(noun, []).append(noun[:-2] + "en")

    known = {}
    for noun in nouns:
        made = regular(noun)
        others = {form for form in irregular.get(noun, []) + made if form in OTHER_THINGS}
        others |= {form for form in made if len(noun) < 3 and form in nouns}
        forms = others | {form for form in irregular.get(noun, []) if form not in made}
        known[noun] = ["!" + form if form in others else form for form in sorted(forms)]
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="WordNet's dict folder")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    known = plurals(read(options.folder))
    lines = ("\t".join([noun, *forms]) for noun, forms in sorted(known.items()))
    text = "".join(line + "\n" for line in lines).encode("ascii")
    if not options.check:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_bytes(gzip.compress(text, 9, mtime=0))
    elif gzip.decompress(TABLE.read_bytes()) != text:
        sys.exit(f"{TABLE} is not what this script makes")


if __name__ == "__main__":
    main()
