"""Simulates how often the intervals of docs/statistics.md hold and how often a verdict is false.

    python bench/results/coverage.py [DRAWS] > coverage.csv

Takes some 10 minutes of one core for 1000 draws. Needs numpy and scipy. Seeds are simulated with
known rates; all but the verdicts is symmetric in 0 and 1.

First part, one line per cell: intervals of means as `over_seeds` of report/src/over_seeds.rs computes
them. On either side that is the wider one of Student's t within bounds and of rates.py's quadrature
of the model of report/src/statistics/rate.rs (tests/golden/verdicts.py checks the two against Rust).
Beside them: Student's t alone, cut off at 0 and 1. Second part: differences of pairs, by Student's
t within the bounds, and verdicts. Tables go to stderr.
"""

import sys

import numpy as np
from rates import Rates, bounded, signs
from scipy import stats

DRAWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SEEDS, CASES, MEANS = (3, 4, 5, 6, 8, 10, 20), (32, 200, 1000), (0.001, 0.01, 0.05, 0.1, 0.2, 0.5)
SPREADS = (0, 0.1, 0.2, 0.4, 0.7)  # standard deviation of the seeds' rates, as a share of the greatest, sqrt(mean (1 - mean))
CAMPS = (0.1, 0.25, 0.5)  # share of seeds that are broken: 90% there, 2% elsewhere
draw = np.random.default_rng(19)


def rates(mean, spread, shape):
    if spread == 0:
        return np.full(shape, mean)
    weight = 1 / spread**2 - 1
    return draw.beta(mean * weight, (1 - mean) * weight, shape)


def camps(broken, shape):
    return np.where(draw.random(shape) < broken, 0.9, 0.02)


def student(values, least):
    """Mean and half of the 95% interval; seeds that agree have the deviation `least`."""
    seeds = values.shape[1]
    error = np.maximum(values.std(1, ddof=1), least) / seeds**0.5
    return values.mean(1), stats.t.ppf(0.975, seeds - 1) * error, error


def means():
    worst = {}
    print("what,cases,seeds,mean,spread,holds,width,student_holds,student_width,at_border")
    for cases in CASES:
        model = Rates(cases, angles={32: 400, 200: 500, 1000: 800}[cases], deviations=50)
        for seeds in SEEDS:
            cells = [("beta", mean, spread, rates(mean, spread, (DRAWS, seeds)), mean) for spread in SPREADS for mean in MEANS]
            cells += [("camps", broken, "", camps(broken, (DRAWS, seeds)), 0.9 * broken + 0.02 * (1 - broken)) for broken in CAMPS]
            for what, mean, spread, drawn, truth in cells:
                hits = np.sort(draw.binomial(cases, drawn), 1)
                unique, times = np.unique(hits, axis=0, return_counts=True)
                found = np.array([model.interval(row.tolist()) for row in unique])
                weight = times / DRAWS
                middle, half, _ = student(unique / cases, 1 / cases / 12**0.5)
                low, high = bounded(middle, half, 0)
                found = np.column_stack([np.minimum(found[:, 0], low), np.maximum(found[:, 1], high)])
                held = ((found[:, 0] <= truth) & (truth <= found[:, 1])) @ weight
                old = (np.abs(middle - truth) <= half) @ weight
                old_width = (np.minimum(middle + half, 1) - np.maximum(middle - half, 0)) @ weight
                border = (unique.sum(1) == 0) @ weight
                width = (found[:, 1] - found[:, 0]) @ weight
                print(f"{what},{cases},{seeds},{mean},{spread},{held:.4f},{width:.4f},{old:.4f},{old_width:.4f},{border:.4f}", flush=True)
                worst.setdefault((what, spread if what == "beta" else mean, seeds), []).append((held, old, width, old_width, mean, cases))
    print("\n| rates | " + " | ".join(f"{seeds} seeds" for seeds in SEEDS) + " |\n|---|" + "---|" * len(SEEDS), file=sys.stderr)
    for what, spread in [("beta", spread) for spread in SPREADS] + [("camps", broken) for broken in CAMPS]:
        cells = [worst[what, spread, seeds] for seeds in SEEDS]
        least = lambda cell, which: f"{100 * min(one[which] for one in cell):.0f}"
        average = lambda cell, which: f"{100 * sum(one[which] for one in cell) / len(cell):.0f}"
        said = [f"{average(cell, 0)}, {least(cell, 0)} ({average(cell, 1)}, {least(cell, 1)})" for cell in cells]
        print(f"| {what} {spread} | {' | '.join(said)} |", file=sys.stderr)


def differences():
    """Pairs that share a seed, which is equally hard for both. With equal means every verdict is
    false. One comparison, so nothing is corrected."""
    print("what,cases,seeds,first,second,spread,holds,student_holds,student_beyond,verdicts,verdicts_of_t_alone")
    print("\n| cases | seeds | means | spread | interval holds (t) | verdict (t alone) |\n|---|---|---|---|---|---|", file=sys.stderr)
    for cases in (32, 1000):
        for seeds in (6, 8, 12):
            for first, second in ((0.5, 0.5), (0.05, 0.05), (0.01, 0.01), (0.05, 0.02), (0.2, 0.05), (0.98, 0.2)):
                for spread in (0, 0.2, 0.7):
                    share = draw.random((20 * DRAWS, seeds))  # a seed is equally hard for both
                    quantile = lambda mean: mean + 0 * share if spread == 0 else stats.beta.ppf(
                        share, mean * (1 / spread**2 - 1), (1 - mean) * (1 / spread**2 - 1))
                    hits = [draw.binomial(cases, np.clip(quantile(mean), 0, 1)) for mean in (first, second)]
                    pairs = (hits[0] - hits[1]) / cases
                    middle, half, error = student(pairs, 1 / cases / 6**0.5)
                    low, high = bounded(middle, half, -1)
                    truth = first - second
                    held = np.mean((low <= truth) & (truth <= high))
                    old = np.mean(np.abs(middle - truth) <= half)
                    beyond = np.mean(np.abs(middle) + half > 1)
                    t = 2 * stats.t.sf(np.abs(middle) / error, seeds - 1) < 0.05
                    both = t & (signs(pairs) < 0.05)
                    print(f"pairs,{cases},{seeds},{first},{second},{spread},{held:.4f},{old:.4f},{beyond:.4f},{both.mean():.4f},{t.mean():.4f}", flush=True)
                    if seeds != 12:
                        print(f"| {cases} | {seeds} | {100 * first:g}, {100 * second:g} | {spread} | {100 * held:.1f} ({100 * old:.1f}) | "
                              f"{100 * both.mean():.1f} ({100 * t.mean():.1f}) |", file=sys.stderr)


means()
differences()
