"""Shared by the table scripts: scores of a run, cells with every seed, planned comparisons. Needs
scipy."""

import gzip
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
from rates import bounded, signs
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
    """Prints a table of differences of pairs of {seed: %}, by name: paired t tests over the seeds,
    corrected together by Holm, and the exact sign-flip test, which is not corrected. Intervals are
    Student's t within -100 and 100, as in `gauntlet compare`; they are not corrected."""
    tests = []
    for name, ours, theirs in comparisons:
        differences = [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]
        test = stats.ttest_1samp(differences, 0)
        half = stats.t.ppf(0.975, len(differences) - 1) * max(stats.sem(differences), 1e-12)
        low, high = bounded(mean(differences) / 100, half / 100, -1) * np.array(100)
        p = float(test.pvalue) if any(differences) else 1.0  # of nothing but zeros it is not a number
        exact = float(signs(np.array([differences]))[0])
        tests.append((p, name, mean(differences), float(low), float(high), differences, exact))
    adjusted, least = {}, 0.0
    for rank, test in enumerate(sorted(tests)):
        least = max(least, min(1.0, test[0] * (len(tests) - rank)))
        adjusted[test[1]] = least
    print(f"\n| {whose} less | difference, points | 95% interval | p (Holm) | p (signs) | seeds |\n|---|---|---|---|---|---|")
    for _, name, difference, low, high, differences, exact in tests:
        below = f"{sum(d < 0 for d in differences)} of {len(differences)} below 0"
        interval = f"{low:+.1f} to {high:+.1f}" if len(set(differences)) > 1 else "–"  # seeds that agree are not certain
        row([name, f"{difference:+.1f}", interval, "< 0.001" if adjusted[name] < 0.0005 else f"{adjusted[name]:.3f}", f"{exact:.3f}", below])
