"""Measures how often `gauntlet check` stops a run of unchanged code.

    python bench/false_alarms.py GAUNTLET FOLDER [SPLITS]

FOLDER is a finished run of a suite with many seeds. They are split at random, again and again, into
five that are recorded, five that are checked, and the rest; the two parts of a split share no seed.
Prints how many splits were stopped, and by which scores. Splits of one run overlap: their share is
an unbiased estimate, with a larger error than that of as many independent runs.
"""
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

gauntlet, folder = sys.argv[1], Path(sys.argv[2]).resolve()
splits, size = int(sys.argv[3]) if len(sys.argv) > 3 else 200, 5
suite = json.loads((folder / "suite.json").read_text())
lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
draw = random.Random(0)


def part(home: Path, name: str, seeds: list) -> Path:
    """A copy of the run with these seeds only."""
    out = home / name
    out.mkdir()
    (out / "trials").symlink_to(folder / "trials")
    (out / "suite.json").write_text(json.dumps({**suite, "seeds": seeds}))
    of_seeds = [line for line in lines if any(line["trial"].endswith(f"/seed-{seed}") for seed in seeds)]
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in of_seeds))
    return out


codes, moved, unclear = Counter(), Counter(), Counter()
for split in range(splits):
    seeds = draw.sample(suite["seeds"], 2 * size)
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        baseline = home / "baseline.json"
        recorded = part(home, "recorded", seeds[:size])
        subprocess.run([gauntlet, "check", recorded, "--record", baseline], check=True, capture_output=True)
        ran = subprocess.run([gauntlet, "check", part(home, "now", seeds[size:]), "--against", baseline], capture_output=True, text=True)
    assert ran.returncode in (0, 1, 3) and "of " in ran.stdout, ran
    codes[ran.returncode] += 1
    for line in ran.stdout.splitlines():
        name = line.split("  ")[0].strip()
        moved[name] += "MOVED" in line
        unclear[name] += "could not tell:" in line and "REGRESSION" not in line and not line.startswith("could not")
print(f"{splits} splits of {len(suite['seeds'])} seeds, {size} recorded and {size} checked:")
for code, what in ((0, "passed"), (1, "stopped: moved"), (3, "stopped: could not tell")):
    print(f"  {what}: {codes[code]} ({100 * codes[code] / splits:.1f}%)")
for what, count in (("moved", moved), ("undecided", unclear)):
    print(f"{what}:", ", ".join(f"{name} {times}" for name, times in (+count).most_common(12)) or "none")
