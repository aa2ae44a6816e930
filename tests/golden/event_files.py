"""Reads the files of `gauntlet tensorboard` with TensorBoard itself, and compares them with their
sources.

    gauntlet run suites/smoke.toml --out out/smoke
    gauntlet tensorboard out/smoke --out out/smoke/tensorboard
    pip install tensorboard==2.21.0
    python tests/golden/event_files.py out/smoke out/smoke/tensorboard

There is no golden file: TensorBoard reads them. src/tensorboard/events.rs tests the format without
it.
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def single(value):
    """Rounded to a 32-bit float."""
    return struct.unpack("f", struct.pack("f", value))[0]


def check(trial, run):
    """Checks that a run's scalars are exactly those that its trial recorded. Returns their
    number."""
    expected = {}
    metrics = lines(trial / "metrics.jsonl")
    steps = max((metric["step"] for metric in metrics), default=1)
    for metric in metrics:
        step = (metric["epoch"] - 1) * steps + metric["step"]
        for name in ["loss", "logit_scale"]:
            expected.setdefault(f"train/{name}", []).append((step, single(metric[name])))
    for moment in lines(trial / "trajectory.jsonl"):
        for name in ["similarity", "rank", "above_clean"]:
            tag = f"{name}/{moment['attack'] or 'clean'}"
            expected.setdefault(tag, []).append((moment["epoch"] * steps, single(moment[name])))
    epochs = json.loads((trial / "trial.json").read_text())["recipe"]["epochs"]
    for line in lines(trial / "scores.jsonl"):
        if line["line"] == "score":
            of = [line["attack"], line["dataset"] if line["downstream"] else None, line["score"]]
            expected["/".join(["scores", *filter(None, of)])] = [(epochs * steps, single(line["value"]))]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    differ = {tag for tag in found.keys() | expected.keys() if found.get(tag) != expected.get(tag)}
    assert not differ, f"{run}: {sorted(differ)}"
    return sum(map(len, found.values()))


def main():
    out, logdir = map(Path, sys.argv[1:])
    files = sorted(logdir.glob("*/*/seed-*/events.out.tfevents.*"))
    trials = {str(path.parent.relative_to(out / "trials")) for path in (out / "trials").glob("*/*/seed-*/trial.json")}
    assert trials == {str(path.parent.relative_to(logdir)) for path in files}, "a run for each trial"
    scalars = sum(check(out / "trials" / path.parent.relative_to(logdir), path.parent) for path in files)
    print(f"TensorBoard read {len(files)} runs, {scalars} scalars, each as the trial wrote it")


if __name__ == "__main__":
    main()
