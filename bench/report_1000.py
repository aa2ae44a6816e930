"""Measures time and size of a report of 1,000 trials, made of the folders of a small finished run.

    target/release/gauntlet run suites/smoke.toml --set 'seeds=[0,1,2]' --out out/smoke
    python3 bench/report_1000.py out/smoke /tmp/thousand
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

ARENAS, DEFENSES, SEEDS = 9, 10, 10   # and the arena `clean`


def main(run, out):
    suite = json.loads((run / "suite.json").read_text())
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    poisoned = next(iter(suite["arenas"]))
    labels, seeds = list(suite["defenses"]), suite["seeds"]
    like = {"clean": "clean"} | {f"{poisoned}-{number}": poisoned for number in range(ARENAS)}
    defenses = {label: label for label in labels} | {f"other-{n}": labels[n % len(labels)] for n in range(DEFENSES - len(labels))}
    suite["arenas"] = {arena: suite["arenas"][poisoned] for arena in like if arena != "clean"}
    suite["defenses"] = {label: suite["defenses"][source] for label, source in defenses.items()}
    suite["seeds"] = list(range(SEEDS))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "suite.json").write_text(json.dumps(suite))
    os.symlink((run / "store").resolve(), out / "store")
    draw, results = random.Random(0), []
    for arena, defense, seed in [(a, d, s) for s in range(SEEDS) for a in like for d in defenses]:
        source = f"{like[arena]}/{defenses[defense]}/seed-{seeds[seed % len(seeds)]}"
        trial, name = run / "trials" / source, f"{arena}/{defense}/seed-{seed}"
        folder = out / "trials" / name
        folder.mkdir(parents=True)
        resolved = json.loads((trial / "trial.json").read_text()) | {"arena": arena, "seed": seed}
        resolved["defense"]["label"] = defense
        (folder / "trial.json").write_text(json.dumps(resolved, indent=2))
        for file in ["metrics.jsonl", "trajectory.jsonl", "cases.jsonl"]:
            if (trial / file).exists():
                shutil.copy(trial / file, folder / file)
        scores = []
        for line in (line for line in lines if line["trial"] == source):
            new = line | {"trial": name}
            if line["line"] == "score":
                new |= {"arena": arena, "defense": defense, "seed": seed}
                if line["unit"] == "share":
                    new["value"] = min(1, max(0, line["value"] + draw.gauss(0, 0.02)))
            scores.append(json.dumps(new) + "\n")
        (folder / "scores.jsonl").write_text("".join(scores))
        results += scores
    (out / "results.jsonl").write_text("".join(results))
    began = time.time()
    subprocess.run(["target/release/gauntlet", "report", str(out), "--html", str(out / "report.html")], check=True)
    print(f"{time.time() - began:.1f} s, {(out / 'report.html').stat().st_size / 1e6:.2f} MB")


main(Path(sys.argv[1]), Path(sys.argv[2]))
