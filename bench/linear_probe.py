"""Times the linear probe's solver beside scikit-learn: same features, same regularisation, same
cores, in turn.

    python bench/linear_probe.py [--rows 50000 --features 1024 --classes 100 --c 0.01 1] [--gauntlet target/release/gauntlet]

Needs numpy, torch, safetensors and scikit-learn. Features are drawn like a network's: class means
and noise whose spectrum falls over two and a half decades, all correlated, and not centred.
scikit-learn runs as CLIP's published probe does (max_iter=1000): in float32 at its default
tolerance, and in float64 at a tight one, which float32 does not reach. Prints JSON: seconds, CPU
seconds (more reliable on a shared machine), objective (C * sum of cross-entropies + |W|^2 / 2,
computed here in float64 for both) and accuracy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits


def features(rows, columns, classes, test):
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(columns, columns))[0]
    spectrum = torch.logspace(0, -2.5, columns)
    means, offset = torch.randn(classes, columns) * spectrum * 0.22, torch.randn(columns) * 0.5
    draw = lambda labels: ((means[labels] + torch.randn(len(labels), columns) * spectrum) @ basis + offset).contiguous()
    fit_labels, test_labels = torch.randint(classes, (rows,)), torch.randint(classes, (test,))
    return {"fit": draw(fit_labels), "fit_labels": fit_labels, "test": draw(test_labels), "test_labels": test_labels}


def scikit_learn(data, c, tolerance, most):
    # 32 bits cannot reach a tight tolerance: the search stops where rounding hides the descent.
    x, y = data["fit"].numpy(), data["fit_labels"].numpy()
    x = x.astype(np.float64) if tolerance < 1e-5 else x
    model = LogisticRegression(C=c, max_iter=most, tol=tolerance)
    began, cpu = time.time(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it did not converge: the objective shows that
        model.fit(x, y)
    seconds, cpu_seconds = time.time() - began, time.process_time() - cpu
    logits = x.astype(np.float64) @ model.coef_.T.astype(np.float64) + model.intercept_
    loss = (np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]).sum()
    objective = c * loss + (model.coef_.astype(np.float64) ** 2).sum() / 2
    accuracy = model.score(data["test"].numpy(), data["test_labels"].numpy())
    times = {"seconds": seconds, "cpu_seconds": cpu_seconds, "steps": int(model.n_iter_.max())}
    return {"c": c, "tolerance": tolerance} | times | {"objective": objective, "accuracy": accuracy}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--c", type=float, nargs="+", default=[0.01, 1.0])
    parser.add_argument("--tolerance", type=float, nargs="+", default=[1e-4, 1e-6])
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--gauntlet", default="target/release/gauntlet")
    arguments = parser.parse_args()
    data = features(arguments.rows, arguments.features, arguments.classes, arguments.test)
    report = {"threads": arguments.threads, "load": [os.getloadavg()[0]]}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "features.safetensors"
        save_file(data, file)
        command = [arguments.gauntlet, "bench", "--device", "cpu", "--threads", str(arguments.threads), "probe", str(file)]
        command += [part for c in arguments.c for part in ("--c", str(c))]
        report["gauntlet"] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["fits"]
    report["scikit_learn"] = []
    for c in arguments.c:
        for tolerance in arguments.tolerance:
            with threadpool_limits(arguments.threads):
                report["scikit_learn"].append(scikit_learn(data, c, tolerance, arguments.most))
            print(report["scikit_learn"][-1], file=sys.stderr)
    report["load"].append(os.getloadavg()[0])
    for theirs in report["scikit_learn"]:
        ours = next(fit for fit in report["gauntlet"] if fit["c"] == theirs["c"])
        theirs["objective_over_ours"] = theirs["objective"] / ours["objective"] - 1
        theirs["seconds_over_ours"] = theirs["seconds"] / ours["seconds"]
        # A short fit takes less than a tick (10 ms) of the clock that gauntlet reads.
        theirs["cpu_seconds_over_ours"] = theirs["cpu_seconds"] / ours["cpu_seconds"] if ours["cpu_seconds"] else None
        theirs["accuracy_less_ours"] = theirs["accuracy"] - ours["accuracy"]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
