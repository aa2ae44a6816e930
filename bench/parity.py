"""Compares gauntlet's full-size models with open_clip's: weights both ways, embeddings, loss,
gradients, an AdamW step; and time.

    pip install torch==2.11.0 open_clip_torch==3.3.0
    cargo build --release -p gauntlet --example parity
    OMP_WAIT_POLICY=passive python bench/parity.py [--batch 4] [RN50 ViT-B-32 ViT-B-16]
    OMP_WAIT_POLICY=passive python bench/parity.py --time [RN50]

The first prints a table and exits with 1 if a line of it is not ok. An error is the greatest
difference over the greatest element of open_clip's tensor; of many tensors, the worst. The limit is
1e-4 in float64, which tells whether the same is computed, and in float32. But where open_clip in
float32 differs by more from itself, with its images channels last as in gauntlet and not, the limit
is twice as much. That is the case for a ResNet's gradients: rounding decides on which side of 0 a
few of millions of ReLUs are. All weights are random. It takes some 6 GB of memory and of disk
(--folder), which it frees.

The second prints seconds per training step of both, in turn.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "target/release/examples/parity"
LIMIT = 1e-4
RN50_PARAMETERS = 102_007_137  # open_clip's docs/model_profile.csv: 102.01 M
LEARNING_RATE, WEIGHT_DECAY, BETAS, EPSILON = 1e-2, 0.1, (0.9, 0.98), 1e-8  # as in core/examples/parity.rs


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("models", nargs="*")
    options.add_argument("--batch", type=int)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--folder", help="where temporary files go")
    options.add_argument("--example", default=EXAMPLE, help="the example as cargo built it")
    options.add_argument("--time", action="store_true")
    options.add_argument("--repetitions", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.time:
        for name in given.models or ["RN50"]:
            timed(name, given)
        return 0
    wrong = 0
    print(f"{'model':<9} {'quantity':<21} {'float64':>8} {'limit':>6}   {'float32':>8} {'limit':>7}  ok   worst of")
    for name in given.models or ["RN50", "ViT-B-32", "ViT-B-16"]:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            for quantity, *errors, note in compared(name, given, Path(folder)):
                ok = all(error <= limit for error, limit in errors)
                wrong += not ok
                shown = [f"{error:>8.1e} {limit:>6.0e}" for error, limit in errors]
                columns = shown if len(shown) == 2 else [" " * 15, *shown]
                print(f"{name:<9} {quantity:<21} {'   '.join(columns)}   {'yes' if ok else 'NO':<4} {note}", flush=True)
    return 1 if wrong else 0


def run(given, *arguments):
    command = [str(given.example), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def compared(name, given, folder):
    """Lines of the table: quantity, (error, limit) in float64 if it is compared there, (error,
    limit) in float32, note."""
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    randomise(model)
    images, tokens = inputs(model, given.batch or 4)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    save_file(before, folder / "weights.safetensors")
    save_file({"images": images, "tokens": tokens}, folder / "inputs.safetensors")
    run(given, "float64", name, folder)
    run(given, "float32", name, folder)
    ours = [load_file(folder / f"{kind}.safetensors") for kind in ["float64", "float32"]]
    theirs = [outputs(model.double(), before, images.double(), tokens)]
    theirs.append(outputs(model.float(), before, images, tokens))
    last = torch.channels_last
    itself = outputs(model.to(memory_format=last), before, images.contiguous(memory_format=last), tokens)

    count = sum(p.numel() for p in model.parameters())
    counted = sum(t.numel() for n, t in ours[1].items() if n.startswith("gradient/"))
    expected = RN50_PARAMETERS if name == "RN50" else count
    yield "parameters", (abs(counted - count) + abs(counted - expected), 0), f"{counted:,}"
    yield "names", (len(ours[0].keys() ^ theirs[0].keys()) + len(ours[1].keys() ^ theirs[0].keys()), 0), f"{len(theirs[0])} tensors"
    parts = ["eval/image", "eval/text", "train/image", "train/text", "loss", "gradient/", "running/"]
    for part in parts:
        keys = [key for key in theirs[0] if key.startswith(part)]
        if keys:
            double, single = (worst(keys, a, b) for a, b in zip(ours, theirs))
            own = worst(keys, itself, theirs[1])[0]
            note = double[1].split("/")[-1] if len(keys) > 1 else ""
            yield part.strip("/"), (double[0], LIMIT), (single[0], max(LIMIT, 2 * own)), note
    yield "AdamW's update", *update(model, before, ours[1], load_file(folder / "model.safetensors"))
    yield from loaded(name, given, folder, images, tokens)


def loaded(name, given, folder, images, tokens):
    """open_clip's strict loader raises if a tensor is missing, unknown or of another shape."""
    run(given, "fresh", name, folder)
    for file in ["model", "fresh"]:
        path = folder / f"{file}.safetensors"
        model, saved = open_clip.create_model(name, pretrained=str(path)).eval(), load_file(path)
        state = model.state_dict()
        differing = sum(not torch.equal(state[key], saved[key]) for key in state)
        yield f"open_clip loads {file}", (differing, 0), f"{len(state)} tensors"
    ours = load_file(folder / "fresh-outputs.safetensors")
    with torch.no_grad():
        theirs = {"image": model.encode_image(images, normalize=True), "text": model.encode_text(tokens, normalize=True)}
    for tower, embeddings in theirs.items():
        yield f"fresh eval/{tower}", (error(ours[f"eval/{tower}"], embeddings), LIMIT), ""


def randomise(model):
    """Moves every weight off constants that hide a mistake: the last norm of open_clip's ResNet
    blocks starts at 0."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim <= 1 and name != "logit_scale":
                parameter.copy_(torch.randn_like(parameter) * 0.1 + (1.0 if name.endswith("weight") else 0.0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer) * 0.1)
            if name.endswith("running_var"):
                buffer.copy_(torch.rand_like(buffer) + 0.5)


def inputs(model, batch):
    side = model.visual.image_size
    side = side if isinstance(side, int) else side[0]
    tokens = torch.zeros(batch, model.context_length, dtype=torch.int64)
    for row in tokens:
        length = int(torch.randint(3, model.context_length + 1, ()))
        row[0], row[length - 1] = model.vocab_size - 2, model.vocab_size - 1
        row[1 : length - 1] = torch.randint(1, model.vocab_size - 2, (length - 2,))
    # Blurred noise: deep layers cannot tell images of plain noise apart, and batch norms then
    # magnify
    # the rounding.
    blurred = lambda size: F.interpolate(torch.randn(batch, 3, size, size), size=side, mode="bicubic")
    return blurred(7) + 0.3 * blurred(56), tokens


def outputs(model, weights, images, tokens):
    out = {}
    model.load_state_dict(weights)
    model.zero_grad()
    model.eval()
    with torch.no_grad():
        out["eval/image"] = model.encode_image(images, normalize=True)
        out["eval/text"] = model.encode_text(tokens, normalize=True)
    model.train()
    out["train/image"], out["train/text"] = image, text = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
    out["loss"] = loss = open_clip.ClipLoss()(image, text, model.logit_scale.exp())
    loss.backward()
    out |= {f"gradient/{n}": p.grad for n, p in model.named_parameters()}
    out |= {f"running/{n}": b.clone() for n, b in model.named_buffers() if "running_" in n}
    return {n: t.detach() for n, t in out.items()}


def error(ours, theirs, scale=None):
    return ((ours - theirs).abs().max() / (theirs if scale is None else scale).abs().max()).item()


def worst(keys, ours, theirs):
    """The greatest error and its key; a NaN is the worst of all."""
    errors = {key: error(ours[key], theirs[key], scale(key, theirs)) for key in keys}
    key = greatest(errors)
    return errors[key], key


def greatest(errors):
    return max(errors, key=lambda key: (math.isnan(errors[key]), errors[key]))


def scale(key, theirs):
    """The bias of attention's keys moves a row's scores alike, which softmax ignores: its gradient
    is nothing but rounding."""
    return theirs[key.replace("k_proj", "q_proj")] if key.endswith("k_proj.bias") else theirs[key]


def groups(model):
    """The groups of open_clip_train/main.py."""
    exclude = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    named = list(model.named_parameters())
    return [
        {"params": [p for n, p in named if exclude(n, p)], "weight_decay": 0.0},
        {"params": [p for n, p in named if not exclude(n, p)], "weight_decay": WEIGHT_DECAY},
    ]


def update(model, before, ours, after):
    """The step is compared by how far it moves, and from the same gradients: Adam's first step is
    nearly their sign, which rounding alone decides for the smallest."""
    model.load_state_dict(before)
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.grad = ours[f"gradient/{name}"]
    torch.optim.AdamW(groups(model), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON).step()
    moved = lambda name, to: to.detach().double() - before[name].double()
    mine, theirs = ({n: moved(n, source[n]) for n in parameters} for source in (after, parameters))
    errors = {n: error(mine[n], theirs[n]) for n in parameters}
    key = greatest(errors)
    return (errors[key], LIMIT), key


def timed(name, given):
    """Medians of steps after a first one, which warms up; both in turn, so that a change of load
    affects both."""
    batch, steps = given.batch or 8, 4
    model = open_clip.create_model(name).train()
    images, tokens = inputs(model, batch)
    optimizer = torch.optim.AdamW(groups(model), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)

    def theirs(layout):
        model.to(memory_format=layout)
        pixels = images.contiguous(memory_format=layout)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            loss = open_clip.ClipLoss()(model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True), model.logit_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            times.append(time.perf_counter() - start)
        return times

    sides = {
        "gauntlet": lambda: [float(line) for line in run(given, "time", name, batch, given.threads, steps).split()],
        "open_clip": lambda: theirs(torch.contiguous_format),
        "open_clip, channels last": lambda: theirs(torch.channels_last),
    }
    medians = {side: [] for side in sides}
    print(f"{name}, batch {batch}, {given.threads} threads, seconds per step (median of {steps - 1}), in turn; load is the machine's")
    for repetition in range(given.repetitions):
        for side, measure in sides.items():
            medians[side].append(statistics.median(measure()[1:]))
        load = Path("/proc/loadavg").read_text().split()[0]
        print(f"{repetition + 1}: " + "; ".join(f"{side} {times[-1]:.2f}" for side, times in medians.items()) + f"; load {load}", flush=True)
    for side in list(sides)[1:]:
        ratios = sorted(a / b for a, b in zip(medians["gauntlet"], medians[side]))
        print(f"gauntlet / {side}: {statistics.median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    sys.exit(main())
