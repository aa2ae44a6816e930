"""Measures which planted faults `gauntlet check` finds.

    python bench/faults.py GAUNTLET SUITE OUT 'SEEDS' [FAULT ..]

SEEDS is a list like '[100, 101, 102, 103, 104]'. Further arguments choose faults; the default is
none (sound code) and all. `--look` only checks that each fault still fits the sources.

Plants six faults in a copy of the sources (a git worktree in OUT, one build; the variable
GAUNTLET_FAULT chooses one), runs the suite with each on seeds that the baseline does not have, and
checks. OUT/baseline.json is a record by `gauntlet check --record` of a sound run on other seeds.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

gauntlet, suite, out, seeds = sys.argv[1], sys.argv[2], Path(sys.argv[3]).resolve(), sys.argv[4]
ON = 'std::env::var("GAUNTLET_FAULT").is_ok_and(|fault| fault == "{}")'

# Fault: file, original text, replacement ({on}: whether the fault is chosen).
FAULTS = {
    "pool-never-updated": (
        "defenses/src/roclip/pool.rs",
        r"(pub fn push\(&mut self, step: &Step, overflow: Overflow\) \{)",
        r"\1 if {on} {{ return; }}",
    ),
    "k-ignored": (
        "defenses/src/roclip.rs",
        r"epoch >= first && \(epoch - first\)\.is_multiple_of\(every\)",
        r"epoch >= first && ({on} || (epoch - first).is_multiple_of(every))",
    ),
    "own-caption": (
        "defenses/src/roclip.rs",
        r"(if self\.look_up == LookUp::BeforePush \{)",
        r"let text = if {on} {{ step.text.detach() }} else {{ text }}; \1",
    ),
    "labels-shuffled": (
        "core/src/evaluator.rs",
        r"self\.data\.class_of\(row\)",
        r"self.data.class_of(if {on} {{ crate::DataRow((row.0 * 7919 + 1) % self.data.len()) }} else {{ row }})",
    ),
    "no-stamp-in-test": (
        "core/src/poison.rs",
        r"self\.stamp\(&data\.canvas\.gather\(rows\)\?, &keys\)",
        r"if {on} {{ data.canvas.gather(rows) }} else {{ self.stamp(&data.canvas.gather(rows)?, &keys) }}",
    ),
    "poison-dropped": (
        "core/src/trial.rs",
        r"(let prepared = self\.prepare_with\(attacks, store, machine\)\?;)",
        r"\1 let mut prepared = prepared; if {on} {{ prepared.poison.edits.clear(); prepared.poison.pixels = prepared.poison.pixels.narrow(0, 0, 0); }}",
    ),
}

if sys.argv[5:] == ["--look"]:  # whether each fault still fits the sources; nothing is built
    for fault, (file, there, _) in FAULTS.items():
        count = len(re.findall(there, Path(file).read_text()))
        assert count == 1, f"{fault}: {count} places in {file}"
    sys.exit()
source = out / "source"
if not source.exists():
    subprocess.run(["git", "worktree", "add", "--detach", source, "HEAD"], check=True)
    for fault, (file, there, planted) in FAULTS.items():
        path = source / file
        text, count = re.subn(there, planted.replace("{on}", ON.format(fault)).replace("{{", "{").replace("}}", "}"), path.read_text())
        assert count == 1, f"{fault}: {count} places in {file}"
        path.write_text(text)
    (source / "libtorch").symlink_to(Path("libtorch").resolve())
subprocess.run(["cargo", "build", "--release", "-j2"], cwd=source, check=True)
for fault in [*(sys.argv[5:] or ["none", *FAULTS])]:
    folder = out / fault
    environment = {**os.environ, "GAUNTLET_FAULT": fault}
    run = [source / "target/release/gauntlet", "run", suite, "--out", folder, "--set", f"seeds={seeds}"]
    subprocess.run(run, env=environment, check=True, capture_output=True)
    checked = subprocess.run([gauntlet, "check", folder, "--against", out / "baseline.json"], capture_output=True, text=True)
    print(f"## {fault}: exit code {checked.returncode}\n{checked.stdout}{checked.stderr}", flush=True)
