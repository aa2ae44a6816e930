"""Prints the tables of docs/results/poison-rate.md, and draws its figure.

    python bench/results/rate_table.py suites/poison-rate.toml out/poison-rate/results.jsonl [docs/results/poison-rate.png]

Attack success of each row at each rate, every seed; the rate at which it crosses a half, per seed,
interpolated on the logarithms of the two nearest rates; then RoCLIP less its controls at every
rate. With a third argument it also draws the figure (needs matplotlib).
"""

import math
import statistics
import sys
import tomllib
from pathlib import Path

from tables import cell, planned, row, scores

suite, values = tomllib.loads(Path(sys.argv[1]).read_text()), scores(sys.argv[2])
rows = suite["data"]["pairs"] * (1 - suite["heldout"])


def rate(attack):
    """Poisoned rows, in % of the clean ones."""
    attack = suite["attacks"][attack]
    return 100 * (attack["poison"]["rate"] if "poison" in attack else attack["targets"] * attack["captions"] / rows)


def break_even(rates, shares):
    """The rate at which `shares` (in %) first reach 50; 0 or infinity if it is outside of the
    rates."""
    if shares[0] >= 50:
        return 0.0
    for (r, s), (next_r, next_s) in zip(zip(rates, shares), list(zip(rates, shares))[1:]):
        if next_s >= 50:
            return math.exp(math.log(r) + (50 - s) / (next_s - s) * math.log(next_r / r))
    return math.inf


def shown(found, rates):
    return f"< {rates[0]:.1f}" if found == 0 else f"> {rates[-1]:.1f}" if math.isinf(found) else f"{found:.1f}"


def curves(stages, rates, defenses, of):
    """The curves of one attack: {defense: (rates, means, {seed: shares})}."""
    shares = {defense: [of(defense, stage) for stage in stages] for defense in defenses}
    return {name: (rates, [statistics.mean(found.values()) for found in each], each) for name, each in shares.items()}


def draw(path, panels):
    """Means as lines, seeds as dots, success over the rate."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(10, 4), sharey=True, layout="constrained")
    for axis, (title, lines) in zip(axes, panels.items()):
        for number, (name, (rates, means, each)) in enumerate(lines.items()):
            axis.plot(rates, means, color=f"C{number}", label=name)
            for rate, found in zip(rates, each):
                axis.plot([rate] * len(found), list(found.values()), ".", color=f"C{number}", alpha=0.4)
        axis.axhline(50, color="gray", linewidth=0.8, linestyle="--")
        axis.set(title=title, xscale="log", xlabel="poisoned rows, % of the clean ones", xticks=rates, xticklabels=[f"{rate:.1f}" for rate in rates])
        axis.minorticks_off()
    axes[0].set_ylabel("attack success, %")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


panels, comparisons = {}, []
defenses = list(dict.fromkeys(defense for _, defense, _, _ in values))
for place, (plugin, score) in enumerate([("targeted", "psr"), ("badnet", "asr")]):
    stages = [(arena, attacks[place]) for arena, attacks in suite["arenas"].items()]
    rates = [rate(attack) for _, attack in stages]
    of = lambda defense, stage: values[stage[0], defense, stage[1], score]
    print(f"\n| {plugin}: row | " + " | ".join(f"{r:.1f}%" for r in rates) + " | half at, % (median; seeds) |\n" + "|---" * (len(rates) + 2) + "|")
    for defense in defenses:
        found = [break_even(rates, [of(defense, stage)[seed] for stage in stages]) for seed in sorted(of(defense, stages[0]))]
        seeds = f"**{shown(statistics.median(found), rates)}** ({', '.join(shown(at, rates) for at in found)})"
        row([defense] + [cell(of(defense, stage)) for stage in stages] + [seeds])
    panels[plugin] = curves(stages, rates, defenses, of)
    for stage, at in zip(stages, rates):
        for control in ["augmentation-control", "exposure-control"]:
            comparisons.append((f"{control}, {plugin} at {at:.1f}%", of("roclip", stage), of(control, stage)))
planned("RoCLIP", comparisons)
if sys.argv[3:]:
    draw(sys.argv[3], panels)
