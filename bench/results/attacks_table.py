"""Prints the table of docs/results/attacks.md.

    python bench/results/attacks_table.py out/attacks/results.jsonl

Reads .jsonl or .jsonl.gz. One row per attack (its own arena), one column per defense: the attack's
success in %, every seed, and after the bar the same score in the arena `clean`.
"""
import gzip
import json
import sys
from collections import defaultdict

SUCCESS = ("psr", "asr", "text-asr")
DEFENSES = ("clip", "augmentation-control", "roclip")

value = {}
adaptive = set()
top1 = defaultdict(list)
arenas, seeds = [], set()
lines = (gzip.open if sys.argv[1].endswith(".gz") else open)(sys.argv[1], "rt")
for line in map(json.loads, lines):
    if line["line"] != "score":
        continue
    if line["arena"] not in arenas:
        arenas.append(line["arena"])
    seeds.add(line["seed"])
    if line["score"] == "top1" and not line["attack"]:
        top1[line["defense"]].append(line["value"])
    if line["score"] in SUCCESS and not line["downstream"]:
        value[line["arena"], line["attack"], line["score"], line["defense"], line["seed"]] = line["value"]
        if line.get("adapted_to"):
            adaptive.add(line["attack"])


def cell(arena, attack, score, defense):
    def numbers(arena):
        keys = [(arena, attack, score, defense, seed) for seed in sorted(seeds)]
        return " ".join(f"{100 * value[key]:.1f}" if key in value else "–" for key in keys)

    return f"{numbers(arena)} \\| {numbers('clean')}"


print("| attack | score | " + " | ".join(DEFENSES) + " |")
print("|---|---" + "|---" * len(DEFENSES) + "|")
for attack in [arena for arena in arenas if arena != "clean"]:
    for score in SUCCESS:
        if any(key[:3] == (attack, attack, score) for key in value):
            name = f"{attack} (adaptive)" if attack in adaptive else attack
            print(f"| {name} | {score} | " + " | ".join(cell(attack, attack, score, defense) for defense in DEFENSES) + " |")
print("\nzero-shot top-1 over all arenas and seeds, least to greatest: ", end="")
print(", ".join(f"{d} {100 * min(top1[d]):.1f} to {100 * max(top1[d]):.1f}" for d in DEFENSES if top1[d]))
