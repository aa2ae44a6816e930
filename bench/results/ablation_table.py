"""Prints the tables of docs/results/roclip-ablation.md, of all seeds or of those that are named.

    python bench/results/ablation_table.py out/roclip-ablation/results.jsonl [SEED ..]

Reads .jsonl or .jsonl.gz. Every seed is printed. The planned comparisons, RoCLIP with each of its
pieces, are corrected for each other and nothing else: `gauntlet compare` corrects for every row of
the suite.
"""

import sys

from tables import cell, planned, row, scores

ATTACKS = {"psr": "targeted", "asr": "badnet", "top1": None}
PIECES = ["augmentation-control", "exposure-control", "own-caption", "random-caption", "roclip-unaugmented"]

seeds = set(map(int, sys.argv[2:]))
values = {key: {seed: value for seed, value in found.items() if not seeds or seed in seeds} for key, found in scores(sys.argv[1]).items()}
values = {key: found for key, found in values.items() if found}
print("| row | targeted, % | badnet, % | top-1, % | top-1 clean, % |\n|---|---|---|---|---|")
for defense in dict.fromkeys(defense for _, defense, _, _ in values):
    columns = [("poisoned", score) for score in ATTACKS] + [("clean", "top1")]
    row([defense] + [cell(values.get((arena, defense, ATTACKS[score], score), {})) for arena, score in columns])

of = lambda defense, score: values["poisoned", defense, ATTACKS[score], score]
planned("RoCLIP", ((f"{piece}, {score}", of("roclip", score), of(piece, score)) for score in ATTACKS for piece in PIECES))
