"""The intervals of report/src/statistics/ in Python, for tests/golden/verdicts.py, coverage.py and the
table scripts. Needs numpy and scipy. `Rates` is the interval of rate.rs by another quadrature.

The model: each seed's rate is drawn from Beta(mean w, (1 - mean) w), its hits from Binomial(cases,
rate). The prior of the mean is Beta(1/2, 1/2). The prior of the rates' standard deviation, as a
share of the greatest possible, sqrt(mean (1 - mean)), is uniform; w = 1 / deviation^2 - 1.
"""

import numpy as np
from scipy import special


class Rates:
    """Intervals of means of seeds that each count `cases` cases. A fixed grid: `angles` steps of
    asin(sqrt(mean)), `deviations` steps of the root of the deviation, denser where it is small."""

    def __init__(self, cases, angles=1500, deviations=120):
        self.cases, self.angles = cases, angles
        mean = np.sin((np.arange(angles) + 0.5) / angles * np.pi / 2) ** 2
        root = (np.arange(deviations) + 0.5) / deviations
        self.mean, self.root = mean[:, None], root[None, :]
        self.weight = 1 / self.root**4 - 1
        self.a, self.b = self.mean * self.weight, (1 - self.mean) * self.weight
        self.known = {}

    def of(self, hits, cases):
        """Log likelihood of one seed on the grid."""
        if (hits, cases) not in self.known:
            table = special.betaln(hits + self.a, cases - hits + self.b) - special.betaln(self.a, self.b)
            self.known[hits, cases] = table
        return self.known[hits, cases]

    def interval(self, hits, cases=None):
        """[low, high] for the hits of each seed."""
        cases = [self.cases] * len(hits) if cases is None else cases
        log = sum(self.of(*seed) for seed in zip(hits, cases)) + np.log(self.root)  # d(deviation) = 2 root d(root)
        mass = np.exp(log - log.max()).sum(1)
        cumulative = np.concatenate([[0], np.cumsum(mass)]) / mass.sum()
        angle = np.interp([0.025, 0.975], cumulative, np.arange(self.angles + 1) / self.angles * np.pi / 2)
        low, high = np.sin(angle) ** 2
        shares = np.divide(hits, cases)
        low, high = 0.0 if not any(hits) else low, 1.0 if list(hits) == list(cases) else high
        return min(low, shares.mean()), max(high, shares.mean())


def bounded(mean, half, least):
    """Mean.bounded of report/src/statistics/seeds.rs for bounds `least` and 1: (mean - m)^2 = half^2
    V(m) / V(mean), V(m) = (m - least) (1 - m)."""
    room = (mean - least) * (1 - mean)
    border = room <= 0
    spread = half**2 / np.where(border, 1, room)
    a, b, c = 1 + spread, 2 * mean + spread * (least + 1), mean**2 + spread * least
    root = np.sqrt(np.maximum(b**2 - 4 * a * c, 0))
    low, high = np.where(border, mean - half, (b - root) / (2 * a)), np.where(border, mean + half, (b + root) / (2 * a))
    return np.maximum(low, least), np.minimum(high, 1)


def signs(differences):
    """The exact sign-flip test."""
    seeds = differences.shape[1]
    choices = 1 - 2 * ((np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds)) & 1)  # the other half are their opposites
    sums, own = np.abs(differences @ choices.T), np.abs(differences.sum(1, keepdims=True))
    return (sums >= own - 1e-12).mean(1)
