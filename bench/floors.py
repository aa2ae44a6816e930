"""Counts the floor of a training step: operations and bytes of the models, over what a device can
do.

    pip install torch==2.11.0 open_clip_torch==3.3.0
    python bench/floors.py [--batch 512] [--length 77]

Operations are counted by PyTorch's own counter over forward and backward. Bytes: each number that
leaves a layer of the image or text tower is written and read in the forward pass, read again in the
backward pass, and its gradient written and read: five times. `all` counts every layer's numbers, as
an eager step moves them; `fused` only those that leave a convolution, a linear layer or attention,
as if norms, activations and pools cost nothing. The floor is the larger of operations over the
device's rate and fused bytes over its bandwidth. An H200's rates are as measured on one elsewhere;
this machine's are measured here, on one thread.
"""

import argparse
import time

import open_clip
import tiny_model
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

H200 = dict(name="H200, bf16", flops=790e12, bytes=4.3e12, width=2)
HEAVY = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


def measured():
    """fp32 products of matrices that fit the cache, and a copy of an array that does not, on one
    thread."""
    torch.set_num_threads(1)
    best = lambda body: min(timed(body) for _ in range(10))
    a, b = torch.randn(768, 768), torch.randn(768, 768)
    x, y = torch.zeros(1 << 26), torch.zeros(1 << 26)
    flops, moved = 2 * 768**3 / best(lambda: a @ b), 2 * 4 * x.numel() / best(lambda: y.copy_(x))
    return dict(name="this CPU, fp32, one thread", flops=flops, bytes=moved, width=4)


def timed(body):
    start = time.process_time()
    body()
    return time.process_time() - start


def counted(tower, inputs, rows):
    """Per row: operations forward and in all, and numbers that leave layers, all and heavy ones."""
    outputs = dict(all=0, heavy=0)

    def leaves(module, _, output):
        output = output[0] if isinstance(output, tuple) else output
        outputs["all"] += output.numel()
        outputs["heavy"] += output.numel() if isinstance(module, HEAVY) else 0

    leaf = lambda module: not list(module.children()) or isinstance(module, nn.MultiheadAttention)
    inside = {id(child) for m in tower.modules() if isinstance(m, nn.MultiheadAttention) for child in m.children()}
    hooks = [m.register_forward_hook(leaves) for m in tower.modules() if leaf(m) and id(m) not in inside]
    with FlopCounterMode(display=False) as forward:
        result = tower(inputs)
    for hook in hooks:
        hook.remove()
    with FlopCounterMode(display=False) as backward:
        result.sum().backward()
    forth = forward.get_total_flops()
    return dict(forward=forth / rows, step=(forth + backward.get_total_flops()) / rows, **{k: n / rows for k, n in outputs.items()})


class OpenClipText(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model.encode_text(tokens)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--length", type=int, default=77)
    given = parser.parse_args()
    rn50, (image, text) = open_clip.create_model("RN50").train(), tiny_model.towers()
    tokens = torch.randint(1, 49407, (2, given.length))
    tokens[:, -1] = 49407
    # The counter knows attention written out, and its fused kernels on a GPU only.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        models = {
            "RN50 image, 224": counted(rn50.visual, torch.randn(2, 3, 224, 224), 2),
            f"RN50 text, {given.length}": counted(OpenClipText(rn50), tokens, 2),
            "tiny image, 32": counted(image, torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last), 128),
            "tiny text, 12": counted(text, torch.randint(1, 255, (128, 12)), 128),
        }
    print("a row:                  GFLOP forward  with backward   M numbers out   of heavy layers")
    for name, n in models.items():
        print(f"{name:22} {n['forward'] / 1e9:14.4f} {n['step'] / 1e9:14.4f} {n['all'] / 1e6:15.3f} {n['heavy'] / 1e6:17.3f}")
    cpu = measured()
    print(f"\n{cpu['name']}: {cpu['flops'] / 1e9:.0f} GFLOP/s, {cpu['bytes'] / 1e9:.1f} GB/s")
    for model, rows, device in [("RN50", given.batch, H200), ("RN50", 8, cpu), ("tiny", 128, cpu)]:
        parts = [n for name, n in models.items() if name.startswith(model)]
        total = lambda key: rows * sum(n[key] for n in parts)
        moved = lambda key: 5 * device["width"] * total(key) / device["bytes"]
        computing, fused, eager = total("step") / device["flops"], moved("heavy"), moved("all")
        print(
            f"{model}, batch {rows}, {device['name']}: operations {computing * 1e3:.1f} ms, bytes {fused * 1e3:.1f} ms fused, "
            f"{eager * 1e3:.1f} ms all; floor {max(computing, fused) * 1e3:.1f} ms"
        )
    # RoCLIP's matching: similarities of the batch with the pool, the pool read once (f32).
    for entries in (20_000, 200_000, 1_000_000):
        rows, width = given.batch, 1024
        found = max(2 * rows * entries * width / 50e12, 4 * entries * (width + rows) * 1.0 / H200["bytes"])
        step = rows * sum(n["step"] for name, n in models.items() if name.startswith("RN50")) / H200["flops"]
        print(f"pool of {entries}, batch {rows}, H200: {found * 1e3:.2f} ms by count (fp32 at 50 TFLOP/s), {100 * found / step:.1f}% of the operations' floor")


if __name__ == "__main__":
    main()
