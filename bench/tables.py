"""What the scripts that make the tables of docs/results.md share: scores of a run, cells with every seed, and planned comparisons. Needs scipy."""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

from scipy import stats


def lines(path):
    """The lines of results.jsonl, or of results.jsonl.gz."""
    path = Path(path)
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return map(json.loads, text.splitlines())


def scores(path):
    """{(arena, defense, attack, score): {seed: %}}"""
    values = defaultdict(dict)
    for line in lines(path):
        if line["line"] == "score":
            values[line["arena"], line["defense"], line["attack"], line["score"]][line["seed"]] = 100 * line["value"]
    return values


def cell(found):
    """The mean and every seed."""
    return f"**{mean(found.values()):.1f}** ({' '.join(f'{found[seed]:.0f}' for seed in sorted(found))})" if found else "–"


def row(cells):
    print(f"| {' | '.join(cells)} |")


def planned(whose, comparisons):
    """A table of differences of pairs of {seed: %}, by name: paired t tests over the seeds, corrected together by Holm (the intervals are not)."""
    tests = []
    for name, ours, theirs in comparisons:
        differences = [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]
        test = stats.ttest_1samp(differences, 0)
        low, high = test.confidence_interval()
        p = float(test.pvalue) if any(differences) else 1.0  # of nothing but zeros it is not a number
        tests.append((p, name, mean(differences), float(low), float(high), differences))
    adjusted, least = {}, 0.0
    for rank, test in enumerate(sorted(tests)):
        least = max(least, min(1.0, test[0] * (len(tests) - rank)))
        adjusted[test[1]] = least
    print(f"\n| {whose} less | difference, points | 95% interval | p (Holm) | seeds |\n|---|---|---|---|---|")
    for _, name, difference, low, high, differences in tests:
        signs = f"{sum(d < 0 for d in differences)} of {len(differences)} below 0"
        row([name, f"{difference:+.1f}", f"{low:+.1f} to {high:+.1f}", "< 0.001" if adjusted[name] < 0.0005 else f"{adjusted[name]:.3f}", signs])
