"""Times the row index: made from tar shards, opened again, and its memory.

    cargo build --release
    python bench/index.py [--rows 10000 1000000 10000000] [--folder /tmp] [--gauntlet target/release/gauntlet]

Shards are those of img2dataset, of 10,000 rows each (image, caption, JSON): the rows of
tests/fixtures/clipart under new keys, their images 32 pixels wide so that a million take 3.6 GB.
Ten shards are written; a larger set is the same files under more names, so that it is in memory
like a warm data set. One training of a `small` model begins on each set, twice, without a canvas
cache, and is stopped after ten steps. Prints for each the index's bytes, wall and CPU seconds from
the start of the process until the index is there and until the tenth step, and the process's own
memory (not file pages).
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SHARD = 10_000
WRITTEN = 10

SUITE = """
name = "index"
seeds = [0]
device = "cpu"
heldout = 0.1
cache_gb = 0.0
model = "small"
attacks = {}
arenas = {}
data = { kind = "webdataset", path = "tests/fixtures/clipart", class_field = "category", class_file = "suites/clipart-classes.json" }
recipe = { epochs = 1, batch = 16, learning_rate = 1e-5, warmup_steps = 0 }
defenses = { clip = {} }
"""


def members():
    """(image, caption, JSON without its key) of every row of the excerpt."""
    with tarfile.open(ROOT / "tests/fixtures/clipart/00000.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    stems = sorted({name.rsplit(".", 1)[0] for name in files})
    for stem in stems:
        image = next(files[name] for name in (f"{stem}.jpg", f"{stem}.png") if name in files)
        small = io.BytesIO()
        Image.open(io.BytesIO(image)).convert("RGB").resize((32, 32)).save(small, "JPEG", quality=80)
        yield small.getvalue(), files[f"{stem}.txt"], json.loads(files[f"{stem}.json"])


def write_shard(path, number, rows):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in range(SHARD):
            image, caption, about = rows[row % len(rows)]
            key = f"{number:05}{row:05}"
            about = json.dumps(about | {"key": key}).encode()
            for ending, content in (("jpg", image), ("txt", caption), ("json", about)):
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def shards(folder, rows, written):
    """A folder of enough shards for `rows`; those beyond the written ones are links to them."""
    folder.mkdir()
    for number in range(-(-rows // SHARD)):
        os.link(written[number % len(written)], folder / f"{number:05}.tar")
    return folder


def own_memory(pid):
    """Peak so far of anonymous pages, which cannot be dropped from memory, in MB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return max((int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("RssAnon")), default=0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def cpu_seconds(pid):
    """CPU seconds of all threads so far; on a shared machine less noisy than wall time."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def begun(gauntlet, trial, out, store):
    """Starts a trial and stops it at its tenth step. Returns wall and CPU seconds until the index
    is there and until the step, and peak memory."""
    index, memory, start = None, 0, time.perf_counter()
    child = subprocess.Popen([gauntlet, "trial", trial, "--out", out, "--store", store], stdout=subprocess.DEVNULL, cwd=ROOT)
    while not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size):
        if child.poll() is not None:
            raise SystemExit(f"the trial ended with {child.returncode}")
        memory = max(memory, own_memory(child.pid))
        if index is None and any(store.glob("index-????????????????")):
            index = time.perf_counter() - start, cpu_seconds(child.pid)
        time.sleep(0.01)
    step = time.perf_counter() - start, cpu_seconds(child.pid)
    child.kill()
    child.wait()
    return index, step, memory


def resolved(gauntlet, folder):
    """The trial to start, as the suite writes it when it runs on the excerpt."""
    suite, out = folder / "suite.toml", folder / "excerpt"
    suite.write_text(SUITE)
    subprocess.run([gauntlet, "run", suite, "--only", "clean/clip", "--out", out], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return json.loads((out / "trials/clean/clip/seed-0/trial.json").read_text())


def measured(gauntlet, trial, folder, rows, written):
    home = folder / f"{rows}"
    home.mkdir()
    trial["heldout"] = 0.001
    trial["data"]["path"] = str(shards(home / "shards", rows, written))
    path = home / "trial.json"
    path.write_text(json.dumps(trial))
    for shard in written[: -(-rows // SHARD)]:  # warm
        with open(shard, "rb") as file:
            while file.read(1 << 24):
                pass
    index, first, memory = begun(gauntlet, path, home / "out-1", home / "store")
    _, again, later = begun(gauntlet, path, home / "out-2", home / "store")
    size = sum(file.stat().st_size for file in next((home / "store").glob("index-*")).iterdir())
    shutil.rmtree(home)
    times = " ".join(f"{wall:>8.2f} {cpu:>8.2f}" for wall, cpu in (index, first, again))
    print(f"{rows:>11,} {size / 1e6:>9.1f} {times} {memory:>6.0f} {later:>8.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where some 400 MB of temporary files go")
    parser.add_argument("--gauntlet", type=Path, default=ROOT / "target/release/gauntlet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, rows = Path(name), list(members())
        written = [folder / f"{number:05}.tar" for number in range(min(WRITTEN, -(-max(options.rows) // SHARD)))]
        for number, path in enumerate(written):
            write_shard(path, number, rows)
        print(f"{'':>21} {'index':>17} {'tenth step':>17} {'.. once indexed':>17} {'own memory, MB':>15}")
        print(f"{'rows':>11} {'index, MB':>9} {'wall s':>8} {'CPU s':>8} {'wall s':>8} {'CPU s':>8} {'wall s':>8} {'CPU s':>8} {'new':>6} {'indexed':>8}")
        gauntlet = options.gauntlet.resolve()
        trial = resolved(gauntlet, folder)
        for count in options.rows:
            measured(gauntlet, trial, folder, count, written)


if __name__ == "__main__":
    main()
