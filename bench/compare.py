"""Compares the scores of the smoke suite on two devices, and checks the second run against the
suite's limits.

    python bench/compare.py out/gpu/smoke-cpu out/gpu/smoke-device

Poison must be the same to the byte. Trainings on two devices round differently and diverge. So
their scores are printed side by side and checked against the limits of tests/integration/smoke.rs,
and accuracies and base rates against each other, within what two seeds may differ by. Prints JSON;
the exit code is 1 if a check fails.
"""

import json
import sys
from pathlib import Path


APART = 0.15


def scores(folder):
    lines = map(json.loads, (Path(folder) / "results.jsonl").read_text().splitlines())
    key = lambda line: (line["arena"], line["defense"], line["attack"], line["score"], line["seed"])
    return {key(line): line for line in lines if line["line"] == "score"}


def wrong(key, line):
    """Why a score breaks the suite's limits; None if it does not."""
    arena, defense, _, score, _ = key
    value = line["value"]
    if score == "top1" and value <= 3 * line["chance"]:
        return "learns next to nothing"
    if arena == "clean" and score in ("psr", "asr") and value > 0.25:
        return "base rate is too high"
    if arena == "poisoned" and defense == "clip" and (score == "psr" and value < 0.8 or score == "asr" and value < 0.5):
        return "the attack fails"
    if arena == "poisoned" and defense == "roclip" and score in ("psr", "asr") and value > 0.3:
        return "RoCLIP does not stop the attack"
    return None


def main():
    ours, theirs = scores(sys.argv[2]), scores(sys.argv[1])
    rows, problems = [], []
    if not ours or ours.keys() != theirs.keys():
        problems.append("the two do not hold the same scores, or none")
    for key in sorted(ours.keys() & theirs.keys(), key=str):
        line, other = ours[key], theirs[key]
        name = "/".join(str(part) for part in key if part is not None)
        rows.append({"score": name, "first": other["value"], "second": line["value"], "difference": line["value"] - other["value"]})
        if line["poison_digest"] != other["poison_digest"]:
            problems.append(f"{name}: the poison differs")
        if (key[3] == "top1" or key[0] == "clean") and key[3] in ("top1", "psr", "asr") and abs(rows[-1]["difference"]) > APART:
            problems.append(f"{name}: {other['value']:.3f} there, {line['value']:.3f} here")
        if why := wrong(key, line):
            problems.append(f"{name}: {why} ({line['value']:.3f})")
    devices = [sorted({line["device"] for line in lines.values()}) for lines in (theirs, ours)]
    precisions = [sorted({line["precision"] for line in lines.values()}) for lines in (theirs, ours)]
    largest = max((abs(row["difference"]) for row in rows), default=None)
    report = dict(devices=devices, precisions=precisions, problems=problems, largest_difference=largest, scores=rows)
    print(json.dumps(report, indent=1))
    for row in rows:
        print(f"{row['score']:52} {row['first']:7.3f} {row['second']:7.3f} {row['difference']:+7.3f}", file=sys.stderr)
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
