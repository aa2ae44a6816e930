"""Times a training step of gauntlet's beside open_clip's, eager and compiled, and beside a loop
like that of RoCLIP's release: same weights, same batch, same loss, one device. Prints JSON; the
exit code is 1 if the losses differ.

    python bench/gpu_peers.py [--gauntlet target/release/gauntlet] [--device cuda] [--model RN50] [--batch 512] [--steps 20] [--no-compile]

Every step takes u8 images and tokens on the host and ends with AdamW and the clamp of the
temperature; nothing is augmented. open_clip: bfloat16 by autocast, channels last, fused AdamW,
pinned memory. The release: the model in float32 outside of autocast, the loss within (float16, with
a scaler), float images copied without pinning, AdamW as PyTorch chooses it, the loss read in every
step; TF32 stays off in all. Rates are rows a second; `floor` is the operations of forward and
backward (bench/floors.py) at an H200's 790 TFLOP/s.
"""

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OPERATIONS = {"RN50": 54.5e9}  # a row at 224 and 77 tokens, forward and backward
H200 = 790e12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gauntlet", default="target/release/gauntlet")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="RN50")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="fp32 to try the script out on a CPU")
    parser.add_argument("--no-compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        ours = gauntlet(given, folder)
        weights, batch = (load_file(Path(folder) / f"{name}.safetensors") for name in ("weights", "batch"))
    theirs = loss_of_open_clip(given, weights, batch)
    difference = abs(theirs - batch["loss"].item()) / batch["loss"].item()
    peers = {"open_clip eager": open_clip_step(given, weights, batch, False)}
    if not given.no_compile:
        peers["open_clip compiled"] = open_clip_step(given, weights, batch, True)
    peers["RoCLIP's release"] = release_step(given, weights, batch)
    rates = {"gauntlet": ours["samples_per_second"]} | {name: rate(given, step) for name, step in peers.items()}
    report = {
        "device": ours["device"], "model": given.model, "batch": given.batch, "precision": given.precision, "loss": batch["loss"].item(), "loss_of_open_clip": theirs,
        "difference": difference, "rows_per_second": rates, "gauntlet_over": {name: rates["gauntlet"] / rates[name] for name in peers},
        "share_of_floor": {name: rates[name] * OPERATIONS[given.model] / H200 for name in rates if given.model in OPERATIONS},
        "same_loss": difference < (2e-2 if given.precision == "bf16" else 1e-4),
    }
    print(json.dumps(report, indent=1))
    return 0 if report["same_loss"] else 1


def gauntlet(given, folder):
    """Gauntlet's own measurement; it leaves weights, batch and loss in the folder."""
    command = [given.gauntlet, "bench", "--device", given.device, "--threads", str(given.threads), "step", "--model", given.model]
    command += ["--batch", str(given.batch), "--steps", str(given.steps), "--warmup", str(given.warmup), "--defense", "clip"]
    command += ["--precision", given.precision, "--exchange", folder]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def built(given, weights):
    model = open_clip.create_model(given.model).to(given.device).train()
    model.load_state_dict(weights)
    return model


def normalised(given, images):
    """u8 `[batch, 3, S, S]` on the host to the model's input on the device."""
    constant = lambda values: torch.tensor(values, device=given.device).view(1, 3, 1, 1)
    return (images.to(given.device, non_blocking=True).float() / 255 - constant(MEAN)) / constant(STD)


def embeddings(model, images, tokens):
    return model.encode_image(images, normalize=True).float(), model.encode_text(tokens, normalize=True).float(), model.logit_scale.exp()


def loss_of(image, text, scale):
    logits, own = scale * image @ text.t(), torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2


def autocast(given, kind=torch.bfloat16):
    return torch.autocast(given.device.split(":")[0], dtype=kind, enabled=given.precision == "bf16")


def loss_of_open_clip(given, weights, batch):
    model = built(given, weights)
    with torch.no_grad():
        with autocast(given):
            found = embeddings(model, normalised(given, batch["images"]), batch["tokens"].to(given.device))
        return loss_of(*found).item()


def groups(model):
    named = [(n, p) for n, p in model.named_parameters()]
    plain = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    return [{"params": [p for n, p in named if plain(n, p) == side], "weight_decay": decay} for side, decay in ((True, 0.0), (False, 0.1))]


def open_clip_step(given, weights, batch, compiled):
    model = built(given, weights).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(groups(model), lr=1e-5, fused=True)
    pin = lambda tensor: tensor.pin_memory() if given.device != "cpu" else tensor
    images, tokens = pin(batch["images"]), pin(batch["tokens"])
    encode = torch.compile(embeddings) if compiled else embeddings

    def step():
        with autocast(given):
            pixels = normalised(given, images).contiguous(memory_format=torch.channels_last)
            found = encode(model, pixels, tokens.to(given.device, non_blocking=True))
        optimizer.zero_grad()
        loss_of(*found).backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))

    return step


def release_step(given, weights, batch):
    model = built(given, weights)
    optimizer = torch.optim.AdamW(groups(model), lr=1e-5)
    on_gpu = given.device != "cpu"
    scaler = torch.amp.GradScaler(enabled=on_gpu)
    constant = lambda values: torch.tensor(values).view(1, 3, 1, 1)
    pixels = (batch["images"].float() / 255 - constant(MEAN)) / constant(STD)  # normalised by its loader's processes

    def step():
        optimizer.zero_grad()
        image, text, scale = embeddings(model, pixels.to(given.device), batch["tokens"].to(given.device))
        with autocast(given, torch.float16) if on_gpu else contextlib.nullcontext():
            loss = loss_of(image, text, scale)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        model.logit_scale.data.clamp_(0, math.log(100))
        loss.item()

    return step


def rate(given, step):
    wait = torch.cuda.synchronize if given.device != "cpu" else lambda: None
    for _ in range(given.warmup):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(given.steps):
        step()
    wait()
    return given.steps * given.batch / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
