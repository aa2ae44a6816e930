"""Prints the tables of docs/results/persistence.md.

    python bench/results/persistence_table.py at-end.jsonl out/persistence/results.jsonl out/persistence-lasting/results.jsonl

Attack success and accuracy of each row, every seed, at three times: when the poison ended half-way
(scores of `gauntlet eval` on every trial's model-poisoned.safetensors, concatenated), after the
clean epochs that followed, and where the poison stayed to the last epoch but one. Then RoCLIP less
its controls at each of the three.
"""

import sys

from tables import cell, planned, row, scores

ATTACKS = {"psr": "targeted", "asr": "badnet", "top1": None}

at_end, ended, lasted = map(scores, sys.argv[1:4])
# `eval` names a row by the path of its weights: .. /DEFENSE/seed-N/model-poisoned.safetensors
at_end_of = {}
for (_, weights, attack, score), found in at_end.items():
    at_end_of.setdefault(("poisoned", weights.split("/")[-3], attack, score), {}).update(found)
stages = {"when it ended": at_end_of, "12 clean epochs on": ended, "had it not ended": lasted}

for score, attack in ATTACKS.items():
    row([f"{attack or 'top-1'}, %", *stages])
    print("|---" * (len(stages) + 1) + "|")
    for defense in dict.fromkeys(defense for _, defense, _, _ in ended):
        row([defense] + [cell(values["poisoned", defense, attack, score]) for values in stages.values()])
    print()
comparisons = []
for stage, values in stages.items():
    of = lambda defense, score: values["poisoned", defense, ATTACKS[score], score]
    for score in ("psr", "asr"):
        for control in ["augmentation-control", "exposure-control"]:
            comparisons.append((f"{control}, {score}, {stage}", of("roclip", score), of(control, score)))
planned("RoCLIP", comparisons)
