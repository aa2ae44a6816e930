"""The tables of docs/results.md, "Does poison outlive clean training?":

    python bench/persistence_table.py out/persistence/results.jsonl out/persistence-lasting/results.jsonl

Attack success and accuracy of each row where the poison ended half-way and where it went on to the last epoch but one, every seed; then RoCLIP less its controls where
it went on.
"""

import sys

from tables import cell, planned, row, scores

ATTACKS = {"psr": "targeted", "asr": "badnet", "top1": None}

ended, lasted = map(scores, sys.argv[1:3])
print("| row | targeted, ended | lasted | badnet, ended | lasted | top-1, ended | lasted |\n|---|---|---|---|---|---|---|")
for defense in dict.fromkeys(defense for _, defense, _, _ in ended):
    row([defense] + [cell(values["poisoned", defense, attack, score]) for score, attack in ATTACKS.items() for values in (ended, lasted)])
of = lambda defense, score: lasted["poisoned", defense, ATTACKS[score], score]
controls = ["augmentation-control", "exposure-control"]
planned("RoCLIP", ((f"{control}, {score}", of("roclip", score), of(control, score)) for score in ATTACKS for control in controls))
