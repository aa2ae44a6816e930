"""The table of docs/results.md, "What does the work in RoCLIP": `python bench/ablation_table.py out/roclip-ablation/results.jsonl` (or .jsonl.gz).

Needs scipy. Every seed is printed; the planned comparisons, RoCLIP with each of its pieces on both attacks, are paired t tests over seeds, corrected
together by Holm, and by nothing else: `gauntlet compare` corrects for every row of the suite.
"""
import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

from scipy import stats

path = Path(sys.argv[1])
text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
values = defaultdict(dict)
for line in map(json.loads, text.splitlines()):
    if line["line"] == "score" and line["score"] in ("top1", "psr", "asr"):
        values[line["arena"], line["defense"], line["score"]][line["seed"]] = 100 * line["value"]

rows = list(dict.fromkeys(defense for _, defense, _ in values))
print("| row | targeted, % | badnet, % | top-1, % | top-1 clean, % |\n|---|---|---|---|---|")
for row in rows:
    cells = []
    for arena, score in (("poisoned", "psr"), ("poisoned", "asr"), ("poisoned", "top1"), ("clean", "top1")):
        found = values.get((arena, row, score), {})
        cells.append(f"**{mean(found.values()):.1f}** ({' '.join(f'{found[seed]:.0f}' for seed in sorted(found))})" if found else "–")
    print(f"| {row} | {' | '.join(cells)} |")

tests = []
for score in ("psr", "asr", "top1"):
    for other in ("augmentation-control", "exposure-control", "own-caption", "random-caption", "roclip-unaugmented"):
        ours, theirs = (values["poisoned", row, score] for row in ("roclip", other))
        seeds = sorted(set(ours) & set(theirs))
        differences = [ours[seed] - theirs[seed] for seed in seeds]
        test = stats.ttest_1samp(differences, 0)
        low, high = test.confidence_interval()
        tests.append((float(test.pvalue), score, other, mean(differences), float(low), float(high), len(seeds)))
adjusted, least = {}, 0.0
for rank, test in enumerate(sorted(tests)):
    least = max(least, min(1.0, test[0] * (len(tests) - rank)))
    adjusted[test[1:3]] = least
print("\n| RoCLIP less | score | difference, points | 95% interval | p (Holm) |\n|---|---|---|---|---|")
for _, score, other, difference, low, high, _ in tests:
    print(f"| {other} | {score} | {difference:+.1f} | {low:+.1f} to {high:+.1f} | {adjusted[score, other]:.3f} |")
