"""Prints the tables of docs/results/defenses.md.

    python bench/results/defenses_table.py out/defenses/results.jsonl

Reads .jsonl or .jsonl.gz. Attack success in % by row and arena, every seed, and after the bar the
base rate (the mean of the same score in the arena `clean`); then the detectors' scores of rows and
images; then each row's cost beside plain CLIP's.
"""
import sys
from collections import defaultdict
from statistics import mean

from tables import lines, scores

values, costs = scores(sys.argv[1]), defaultdict(list)
for line in lines(sys.argv[1]):
    if line["line"] == "cost":
        arena, defense, _ = line["trial"].split("/")
        costs[defense].append(line)
arenas = [arena for arena in dict.fromkeys(key[0] for key in values) if arena != "clean"]
rows = list(dict.fromkeys(key[1] for key in values))


def every(found: dict) -> str:
    return " ".join(f"{found[seed]:.0f}" for seed in sorted(found))


# The score of each attack's success: of targets, of stamped images, or of captions.
measured = {arena: next(score for score in ("psr", "asr", "text-asr") if (arena, "clip", arena, score) in values) for arena in arenas}


def success(arena: str, row: str) -> str:
    key = row, arena, measured[arena]
    found, base = values.get((arena, *key)), values.get(("clean", *key))
    return every(found) + (f" \\| {mean(base.values()):.0f}" if base else "") if found else "–"


print("| row | top-1 clean | " + " | ".join(f"{arena} ({measured[arena].upper()})" for arena in arenas) + " |\n|---" + "|---" * (len(arenas) + 1) + "|")
for row in rows:
    print(f"| {row} | {every(values.get(('clean', row, None, 'top1'), {}))} | " + " | ".join(success(arena, row) for arena in arenas) + " |")
print("\n| top-1 where poisoned | " + " | ".join(arenas) + " |\n" + "|---" * (len(arenas) + 1) + "|")
for row in rows:
    print(f"| {row} | " + " | ".join(every(values.get((arena, row, None, "top1"), {})) for arena in arenas) + " |")
print("\n| detector | score | clean | " + " | ".join(arenas) + " |\n" + "|---" * (len(arenas) + 3) + "|")
for row in rows:
    for score in ("filter-auroc", "poison-dropped", "dropped-poisoned", "clean-dropped", "rejection-auroc", "asr-after-rejection", "psr-after-rejection", "clean-rejected"):
        cells = []
        for arena in ["clean", *arenas]:
            found = values.get((arena, row, arena, score)) or values.get((arena, row, None, score)) or {}
            cells.append(every(found))
        if any(cells):
            print(f"| {row} | {score} | " + " | ".join(cells) + " |")
print("\n| row | rows trained | undefended model's | inference samples | training, s | with the undefended model's |\n|---|---|---|---|---|---|")
clip = {key: mean(cost[key] for cost in costs["clip"]) for key in ("samples", "train_seconds")}
for row in rows:
    of = lambda key: mean(cost[key] for cost in costs[row])
    seconds, all_seconds = of("train_seconds"), of("train_seconds") + of("undefended_seconds")
    print(f"| {row} | {of('samples') / clip['samples']:.2f} | {of('undefended_samples') / clip['samples']:.2f} | {of('looked_at'):.0f} | "
          f"{seconds:.1f} | {all_seconds / clip['train_seconds']:.2f} times clip's |")
