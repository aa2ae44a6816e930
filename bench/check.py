"""Runs every script of bench/, bench/results/ and tests/golden in its short form. `make
bench-check` does this, or

    python bench/check.py [--gauntlet target/release/gauntlet] [--only TEXT]

A script that lacks its Python packages or another requirement is skipped by name. A script that is
not listed here fails. Scripts that make golden files run in a copy of tests/, and their files are
compared with the committed ones: they are equal, or these versions of the packages make others,
which is noted and no failure. The exit code is 1 if a script failed.
"""

import argparse
import ast
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "bench/results"
# Imported by other scripts.
MODULES = {"bench/check.py", "bench/tiny_model.py", "bench/results/rates.py", "bench/results/tables.py"}
# Script: its arguments; `Stage.word` fills in `{..}`. Scripts of tests/golden that are not named
# run
# without any.
SHORT = {
    "bench/results/ablation_table.py": f"{RESULTS}/roclip-ablation-cpu-2026-11-26.jsonl.gz",
    "bench/results/attacks_table.py": f"{RESULTS}/attacks-cpu-2026-11-26.jsonl.gz",
    "bench/captions.py": "tests/fixtures/clipart --wordnet {wordnet} --nasty 200 {example:captions}",
    "bench/compare.py": "{recorded} {recorded}",
    "bench/results/coverage.py": "3",
    "bench/results/defenses_table.py": f"{RESULTS}/defenses-cpu-2026-11-26.jsonl.gz",
    "bench/false_alarms.py": "{gauntlet} {many} 2",
    "bench/faults.py": "{gauntlet} suites/smoke.toml {out} [0] --look",
    "bench/features.py": "{out} --fake 40 --model ViT-S-32-alt --threads 1 --workers 1 --gauntlet {gauntlet}",
    "bench/floors.py": "--batch 1",
    "bench/gpu_peers.py": "--device cpu --model ViT-S-32-alt --batch 4 --steps 2 --warmup 1 --threads 1 --no-compile --precision fp32 --gauntlet {gauntlet}",
    "bench/index.py": "--rows 2000 --gauntlet {gauntlet}",
    "bench/kernels_emulated.py": "",
    "bench/linear_probe.py": "--rows 400 --features 16 --classes 4 --test 100 --c 1 --threads 1 --gauntlet {gauntlet}",
    "bench/parity.py": "ViT-S-32-alt --batch 2 --threads 1 --folder {out} {example:parity}",
    "bench/peers.py": "--rounds 1 --peers-only --only 128",
    "bench/results/persistence_table.py": " ".join(f"{RESULTS}/persistence-{part}cpu-2026-11-26.jsonl.gz" for part in ("at-end-", "", "lasting-")),
    "bench/precomputed.py": "{export} {out}/precomputed",
    "bench/share.py": "--rounds 1 --epochs 6 --program {gauntlet}",
    "bench/results/rate_table.py": f"suites/poison-rate.toml {RESULTS}/poison-rate-cpu-2026-11-26.jsonl.gz",
    "bench/report_1000.py": "{run} {out}/thousand",
    "bench/trial_peer.py": "{run} poisoned/clip/seed-0 --epochs 1",
    "bench/trials.py": "--rounds 1 --epochs 1 --only smoke/poisoned/clip --gauntlet {gauntlet}",
    "tests/golden/event_files.py": "{run} {tensorboard}",
    "tests/golden/synonyms.py": "{wordnet}",
}
# Imported only where they are needed.
MORE = {
    "bench/results/rate_table.py": [],
    "bench/captions.py": ["nltk"],
    "bench/trials.py": ["numpy", "safetensors", "torch"],  # of trial_peer.py, which it runs
}
SKIPPED = {
    "bench/gpu.sh": "it measures a machine with a GPU; bench/gpu.sh --device cpu tries it out, in an hour",
}


class Missing(Exception):
    """Why a script is skipped."""


class Stage:
    """The inputs of the scripts, each made when the first one needs it."""

    def __init__(self, gauntlet, home):
        self.gauntlet, self.home, self.made = gauntlet, home, {}

    def word(self, word):
        """A word of an argument list, with `{..}` filled in; None if it only names a
        requirement."""
        for name in ("gauntlet", "out", "run", "many", "recorded", "export", "tensorboard", "wordnet"):
            if f"{{{name}}}" in word:
                word = word.replace(f"{{{name}}}", str(self.get(name)))
        if word.startswith("{example:"):
            name = word[len("{example:") : -1]
            if not (ROOT / "target/release/examples" / name).exists():
                raise Missing(f"the example is not built: cargo build --release -p gauntlet --example {name}")
            return None
        return word

    def get(self, name):
        if name not in self.made:
            self.made[name] = getattr(self, f"make_{name}")(self.home / name)
        return self.made[name]

    def do(self, *arguments):
        if not Path(self.gauntlet).exists():
            raise Missing(f"{self.gauntlet} is not built: cargo build --release")
        done = subprocess.run([self.gauntlet, *arguments], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"gauntlet {' '.join(map(str, arguments))}:\n{done.stderr}")

    def make_gauntlet(self, _):
        if not Path(self.gauntlet).exists():
            raise Missing(f"{self.gauntlet} is not built: cargo build --release")
        return self.gauntlet

    def make_out(self, folder):
        folder.mkdir()
        return folder

    def make_run(self, folder):
        """A finished run of the smoke suite, one epoch a trial."""
        short = ["recipe.epochs=1", "recipe.warmup_steps=2", "seeds=[0]", "defenses.roclip.first=1", "defenses.roclip.every=1"]
        self.do("run", "suites/smoke.toml", *(word for key in short for word in ("--set", key)), "--out", folder)
        return folder

    def make_many(self, folder):
        """That run, with the results of thirty seeds in place of its own."""
        run = self.get("run")
        folder.mkdir()
        lines = gzip.decompress((ROOT / RESULTS / "smoke-30-seeds-cpu-2026-11-26.jsonl.gz").read_bytes()).decode()
        seeds = sorted({line["seed"] for line in map(json.loads, lines.splitlines()) if line["line"] == "score"})
        suite = json.loads((run / "suite.json").read_text()) | {"seeds": seeds}
        (folder / "suite.json").write_text(json.dumps(suite))
        (folder / "results.jsonl").write_text(lines)
        shutil.copytree(run / "trials", folder / "trials")
        of_trial = {}
        for line in lines.splitlines(keepends=True):
            of_trial.setdefault(json.loads(line)["trial"], []).append(line)
        for trial, scores in of_trial.items():
            arena, defense, _ = trial.split("/")
            if not (folder / "trials" / trial).exists():
                shutil.copytree(run / "trials" / arena / defense / "seed-0", folder / "trials" / trial)
            (folder / "trials" / trial / "scores.jsonl").write_text("".join(scores))
        return folder

    def make_recorded(self, folder):
        """The results of the smoke suite on a GPU."""
        folder.mkdir()
        text = gzip.decompress((ROOT / RESULTS / "h200-2026-11-26/smoke-seed-0.jsonl.gz").read_bytes())
        (folder / "results.jsonl").write_bytes(text)
        return folder

    def make_export(self, folder):
        self.do("poison", "export", "suites/smoke.toml", "--set", "seeds=[0]", "--format", "csv", "--out", folder)
        return next(folder.rglob("train.csv")).parent

    def make_tensorboard(self, folder):
        self.do("tensorboard", self.get("run"), "--out", folder)
        return folder

    def make_wordnet(self, _):
        places = [os.environ.get("WORDNET", ""), "/usr/share/wordnet"]
        found = [place for place in places if place and (Path(place) / "index.noun").exists()]
        if not found:
            raise Missing("there is no WordNet: apt install wordnet-base, or name its folder in WORDNET")
        return found[0]


def packages(path, seen=None):
    """Packages that a script imports, itself or through its neighbours."""
    seen = set() if seen is None else seen
    found = set()
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in (name.split(".")[0] for name in names):
            neighbour = next((folder / f"{name}.py" for folder in (path.parent, ROOT / "tests/golden", ROOT / RESULTS) if (folder / f"{name}.py").exists()), None)
            if neighbour and neighbour not in seen:
                seen.add(neighbour)
                found |= packages(neighbour, seen)
            elif not neighbour and name not in sys.stdlib_module_names:
                found.add(name)
    return found


def run(script, stage, copy):
    """Runs one script in its short form; returns a note to print."""
    missing = sorted(name for name in packages(ROOT / script) | set(MORE.get(script, [])) if find_spec(name) is None)
    if missing:
        raise Missing(f"Python lacks {', '.join(missing)}")
    words = [stage.word(word) for word in SHORT.get(script, "").split()]
    is_golden = script.startswith("tests/golden")
    home = copy if is_golden else ROOT
    # -P would hide a script's neighbours; none of them may have the name of a standard module.
    command = [sys.executable, script, *(word for word in words if word is not None)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONDONTWRITEBYTECODE": "1"}
    if (done := subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)).returncode:
        raise RuntimeError(f"exit code {done.returncode}\n" + "\n".join((done.stdout + done.stderr).splitlines()[-12:]))
    if script == "tests/golden/verdicts.py":  # it prints what other scripts write to a file
        (copy / "tests/golden/statistics.json").write_text(done.stdout)
    return compared(copy) if is_golden else ""


def compared(copy):
    """A note on golden files that the last script changed; restores them for the next script."""
    other = []
    for path in sorted((copy / "tests/golden").rglob("*.*")):
        committed = ROOT / path.relative_to(copy)
        if path.is_file() and path.suffix != ".py" and committed.exists() and path.read_bytes() != committed.read_bytes():
            other.append(path.name)
            shutil.copy(committed, path)
    return f"; these versions of its packages make {', '.join(other)} otherwise" if other else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gauntlet", type=Path, default=ROOT / "target/release/gauntlet")
    parser.add_argument("--only", default="", help="only scripts whose path contains this")
    given = parser.parse_args()
    scripts = [str(path.relative_to(ROOT)) for folder in ("bench", RESULTS, "tests/golden") for path in sorted((ROOT / folder).iterdir())]
    scripts = [script for script in scripts if script.endswith((".py", ".sh")) and script not in MODULES and given.only in script]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory() as folder:
        home, copy = Path(folder) / "stage", Path(folder) / "copy"
        home.mkdir()
        shutil.copytree(ROOT / "tests", copy / "tests", symlinks=True)
        (copy / "bench").symlink_to(ROOT / "bench")  # verdicts.py imports bench/results/rates.py
        stage = Stage(given.gauntlet.resolve(), home)
        for script in scripts:
            start = time.monotonic()
            try:
                if script in SKIPPED:
                    raise Missing(SKIPPED[script])
                if script not in SHORT and not script.startswith("tests/golden"):
                    raise RuntimeError("has no short run; give it one in bench/check.py")
                how, note = "passed", run(script, stage, copy)
            except Missing as why:
                how, note = "skipped", f": {why}"
            except Exception as why:
                how, note = "failed", f": {why}"
            counts[how] += 1
            print(f"{how:8}{script} ({time.monotonic() - start:.0f} s){note}", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
