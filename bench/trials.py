"""Times whole trials of the embedded world, gauntlet and PyTorch (`trial_peer.py`) in turn: CPU
seconds per 1,000 rows; prints a table for docs/performance.md.

    pip install torch==2.11.0 torchvision==0.26.0 safetensors numpy pillow
    cargo build --release && OMP_WAIT_POLICY=passive python bench/trials.py [--rounds 3] [--only TEXT] [--epochs N] [--compile]

Gauntlet's seconds are of the whole process, all threads: start, data, the loader's thread,
checkpoints and evaluation, over the rows it trained on. PyTorch's are of its training loop alone;
with `--compile`, the first epoch, in which it compiles, is left out. Both are given as best and
median over the rounds, the ratios as gauntlet over PyTorch: below 1, gauntlet is faster.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}
# Suite, trial, epochs. RoCLIP begins to match late, so its trials run to their end.
CASES = [
    ("demo", "poisoned/clip/seed-10", 4),
    ("demo", "poisoned/augmentation-control/seed-10", 4),
    ("demo", "poisoned/roclip/seed-10", 12),
    ("smoke", "poisoned/clip/seed-0", 9),
    ("smoke", "poisoned/roclip/seed-0", 9),
]


def gauntlet(program, suite, trial, epochs, out):
    """Trains it again; the store is kept."""
    shutil.rmtree(out / "trials", ignore_errors=True)
    command = [program, "run", f"suites/{suite}.toml", "--only", trial, "--set", f"recipe.epochs={epochs}", "--out", out]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    cost = next(line for line in lines if line["line"] == "cost")
    return 1000 * cost["cpu_seconds"] / (cost["samples_per_second"] * cost["train_seconds"])


def pytorch(trial, out, compiled):
    command = [sys.executable, ROOT / "bench/trial_peer.py", out, trial, *(["--compile"] if compiled else [])]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    epochs = json.loads(done.stdout)
    return statistics.mean(epochs[1:] if compiled else epochs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only cases whose suite/arena/defense/seed contains this")
    parser.add_argument("--epochs", type=int, help="of every case, instead of its own number")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well: it compiles for minutes")
    parser.add_argument("--gauntlet", default=ROOT / "target/release/gauntlet", type=Path)
    given = parser.parse_args()
    peers = {"PyTorch eager": False} | ({"torch.compile": True} if given.compile else {})
    print("| trial | who | best | median | gauntlet / it, best | median |\n|---|---|---|---|---|---|", flush=True)
    for suite, trial, epochs in ((suite, trial, given.epochs or epochs) for suite, trial, epochs in CASES):
        if given.only not in f"{suite}/{trial}":
            continue
        with tempfile.TemporaryDirectory() as folder:
            out, times = Path(folder), {}
            for _ in range(given.rounds):
                times.setdefault("gauntlet", []).append(gauntlet(given.gauntlet, suite, trial, epochs, out))
                for who, compiled in peers.items():
                    times.setdefault(who, []).append(pytorch(trial, out, compiled))
        best, median = (lambda who: min(times[who])), (lambda who: statistics.median(times[who]))
        for who in times:
            ratios = "|" if who == "gauntlet" else f"{best('gauntlet') / best(who):.2f} | {median('gauntlet') / median(who):.2f}"
            print(f"| {suite}/{trial}, {epochs} epochs | {who} | {best(who):.3f} | {median(who):.3f} | {ratios} |", flush=True)
    print(f"\nload {Path('/proc/loadavg').read_text().split()[0]}")


if __name__ == "__main__":
    main()
