"""Prints golden values for report/src/statistics/{seeds,flips,rate}.rs, with scipy and statsmodels.

    pip install scipy statsmodels
    python tests/golden/verdicts.py > tests/golden/statistics.json
"""
import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

sys.path.append(str(Path(__file__).parents[2] / "bench/results"))
from rates import Rates  # noqa: E402

draw = np.random.default_rng(0)
golden = {"made_with": f"numpy {np.__version__}", "paired": [], "two_sample": [], "mcnemar": [], "power": []}
for seeds in (3, 5, 8, 20):
    ours, theirs = draw.uniform(0, 1, seeds).round(3), draw.uniform(0.2, 1, seeds).round(3)
    test = stats.ttest_rel(ours, theirs)
    low, high = test.confidence_interval()
    golden["paired"].append({"ours": ours.tolist(), "theirs": theirs.tolist(), "mean": (ours - theirs).mean(), "low": low, "high": high,
                             "p": test.pvalue})
for n, m in ((5, 5), (8, 3), (10, 1)):
    first, second = draw.normal(0.9, 0.02, n).round(4), draw.normal(0.85, 0.02, m).round(4)
    pooled = (((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()) / (n + m - 2)
    error = np.sqrt(pooled * (1 / n + 1 / m))
    t = (second.mean() - first.mean()) / error
    p = stats.ttest_ind(second, first).pvalue if m > 1 else 2 * stats.t.sf(abs(t), n + m - 2)
    golden["two_sample"].append({"first": first.tolist(), "second": second.tolist(), "p": p,
                                 "half_width": stats.t.ppf(0.975, n + m - 2) * error})
p = [0.001, 0.04, 0.012, 0.2, 0.03, 0.0004, 0.9]
golden["holm"] = {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()}
for first, second in ((3, 12), (0, 5), (40, 41), (100, 60)):
    golden["mcnemar"].append({"first": first, "second": second, "p": mcnemar([[9, first], [second, 9]], exact=True).pvalue})
for seeds, level, effect in ((3, 0.05, 2.0), (5, 0.05, 1.5), (8, 0.005, 1.5), (10, 0.01, 1.0)):
    test = TTestPower()
    golden["power"].append({"seeds": seeds, "level": level, "effect": effect, "power": test.power(effect, seeds, level),
                            "detectable": float(np.squeeze(test.solve_power(nobs=seeds, alpha=level, power=0.8)))})

# Wilson's interval of a mean within bounds, with the seeds' own variance:
# (mean - m)^2 = t^2 s^2 / n V(m) / V(mean), solved by bisection.
golden["bounded"] = []
for values, least, most in (([-0.99, -0.97, -0.05, -0.98, -0.85, -0.3], -1, 1), ([0.1, -0.2, 0.3, 0.05], -1, 1), ([1, 1, 2, 1, 40.5], 1, None),
                            ([0.2, 0.9, 0.4], -1, 1)):
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    room = (lambda m: (m - least) * (most - m)) if most is not None else (lambda m: m - least)
    beyond = lambda m: (mean - m) ** 2 - half**2 * room(m) / room(mean)
    ends = [brentq(beyond, least, mean), brentq(beyond, mean, most if most is not None else mean + 100 * half)]
    golden["bounded"].append({"values": values, "least": least, "most": most, "low": ends[0], "high": ends[1]})

golden["sign_flips"] = []
for seeds in (4, 6, 7, 8, 12):
    for shift in (0.1, 0.3):
        differences = draw.normal(shift, 0.2, seeds).round(3)
        test = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
        golden["sign_flips"].append({"differences": differences.tolist(), "p": test.pvalue})

golden["rates"] = []
rates = Rates(32, 4000, 300)
for hits, cases in (([32] * 8, 32), ([0] * 6, 32), ([0] * 3, 1000), ([32, 32, 31, 32, 32, 32], 32), ([4, 4, 1, 2, 1, 0, 2, 3], 32),
                    ([1, 1, 2, 0, 29, 0, 3, 21], 32), ([860, 861, 859, 862, 864, 858], 878), ([16, 9, 20, 14], 32), ([3, 1, 2] * 6, 200)):
    low, high = rates.interval(hits, [cases] * len(hits))
    golden["rates"].append({"hits": hits, "cases": [cases] * len(hits), "low": low, "high": high})
for hits, cases in (([10, 700, 33], [40, 900, 50]), ([35060, 34940, 35170, 34895, 35005, 35110], [50000] * 6)):
    low, high = rates.interval(hits, cases)
    golden["rates"].append({"hits": hits, "cases": cases, "low": low, "high": high})
print(json.dumps(golden, indent=1, default=float))
