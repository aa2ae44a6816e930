"""Golden values of core/src/judge/seeds.rs: `python tests/golden/verdicts.py > tests/golden/statistics.json` (needs scipy, statsmodels)."""
import json

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

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
print(json.dumps(golden, indent=1, default=float))
