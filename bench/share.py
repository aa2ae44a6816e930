"""Kills, freezes and wakes runs that share one folder, at random moments, and looks for what was lost or doubled.

    python bench/share.py --program target/release/gauntlet --rounds 20

Each round starts three runs of one suite in one folder. Until all trials are finished, it strikes a random run: the
run alone, its trial alone, or both are killed or frozen; a frozen one wakes up after longer or shorter than the
silence that ends a lease. A killed run is started again. Then it compares with a run that nobody disturbed: every
trial has the same scores and weights, no step is lost or logged twice, results.jsonl has every line once.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time

SUITE = """
name = "share"
seeds = [0, 1]
model = "model.json"
device = "cpu"
threads = 1
[data]
kind = "world"
pairs = 300
classes = 6
[recipe]
epochs = {epochs}
batch = 32
learning_rate = 2e-3
warmup_steps = 10
checkpoint_steps = 4
[attacks.badnet]
poison = {{ rate = 0.05 }}
[arenas]
poisoned = ["badnet"]
[defenses]
clip = {{}}
clip-score = {{}}
roclip = {{ first = 3, every = 2 }}
"""
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1], "width": 8, "patch_size": None, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 256, "width": 16, "heads": 2, "layers": 1},
}
SILENCE = 2.0


def start(program, folder, out, log):
    environment = {**os.environ, "GAUNTLET_LEASE": str(SILENCE), "OMP_WAIT_POLICY": "passive"}
    command = [program, "run", "suite.toml", "--out", out, "--jobs", "1", "--wait"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=open(log, "a"))


def children(process):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def send(pids, name):
    for pid in pids:
        try:
            os.kill(pid, name)
        except ProcessLookupError:
            pass


def newest(trial):
    attempts = sorted(trial.glob("attempt-*"))
    return attempts[-1] if attempts else trial


def results(out):
    """Scores, weights and logged steps of every trial, and the lines of results.jsonl."""
    found = {}
    for leased in sorted(out.glob("trials/*/*/seed-*")):
        trial = newest(leased)
        lines = [json.loads(line) for line in (trial / "scores.jsonl").read_text().splitlines()]
        scores = sorted(json.dumps(line, sort_keys=True) for line in lines if line["line"] == "score")
        steps = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        steps = [(step["epoch"], step["step"]) for step in steps]
        weights = hashlib.sha256((trial / "model.safetensors").read_bytes()).hexdigest()
        found[str(leased.relative_to(out))] = (scores, weights, steps)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return found, sorted(json.dumps(line, sort_keys=True) for line in lines if line["line"] == "score")


def disturb(program, folder, out, log, rng, tally):
    """Three runs, and strikes until all trials are finished."""
    runs = [start(program, folder, out, log) for _ in range(3)]
    while any(run.poll() is None for run in runs):
        time.sleep(rng.uniform(0.1, 1.5))
        number = rng.randrange(3)
        run = runs[number]
        if run.poll() is not None:
            continue
        whom, how = rng.choice(["run", "trial", "both"]), rng.choice(["kill", "kill", "freeze"])
        below = children(run)
        pids = {"run": [run.pid], "trial": below, "both": [run.pid, *below]}[whom]
        if not pids:
            continue
        tally[f"{how} {whom}"] = tally.get(f"{how} {whom}", 0) + 1
        if how == "kill":
            send(pids, signal.SIGKILL)
        else:
            send(pids, signal.SIGSTOP)
            time.sleep(rng.choice([0.3, SILENCE * 1.5]))
            send(pids, signal.SIGCONT)
        if how == "kill" and whom != "trial":
            run.wait()
            runs[number] = start(program, folder, out, log)
    # A trial whose process was killed counts as failed: the next run does it again.
    for _ in range(5):
        if start(program, folder, out, log).wait() == 0:
            return
    raise SystemExit(f"the suite does not end: {log}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/gauntlet")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    program, rng, tally, wrong = str(pathlib.Path(options.program).resolve()), random.Random(options.seed), {}, []
    with tempfile.TemporaryDirectory() as home:
        folder = pathlib.Path(home)
        (folder / "model.json").write_text(json.dumps(MODEL))
        (folder / "suite.toml").write_text(SUITE.format(epochs=options.epochs))
        log = folder / "log.txt"
        assert start(program, folder, "undisturbed", log).wait() == 0, log.read_text()
        expected = results(folder / "undisturbed")
        taken_over = 0
        for number in range(options.rounds):
            out = folder / f"round-{number}"
            disturb(program, folder, out.name, log, rng, tally)
            taken_over += len(list(out.glob("trials/*/*/*/attempt-*")))
            found = results(out)
            for name, (scores, weights, steps) in expected[0].items():
                there = found[0].get(name, ([], "", []))
                faults = {
                    "scores": there[0] != scores,
                    "weights": there[1] != weights,
                    # A trial that is asked to stop logs its last step, too.
                    "steps lost": not set(steps) <= set(there[2]),
                    "steps doubled": len(set(there[2])) != len(there[2]),
                }
                wrong += [f"round {number}: {name}: {fault}" for fault, is_there in faults.items() if is_there]
            wrong += [f"round {number}: results.jsonl"] if found[1] != expected[1] else []
            print(f"round {number}: {sum(tally.values())} strikes so far, {len(wrong)} faults", flush=True)
    print(json.dumps({"rounds": options.rounds, "strikes": tally, "attempts taken over": taken_over, "faults": wrong}))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
