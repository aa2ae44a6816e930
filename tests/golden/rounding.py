"""Makes rounding.json: the distance of PyTorch's 32-bit numbers for clip.py's model from its 64-bit
ones, per tensor.

    pip install open_clip_torch torchvision safetensors
    python rounding.py

Read by core/src/golden.rs. Batch norms over six images amplify rounding, and on one thread the sums
behind those over channels-last images are taken one by one: no implementation need be nearer than
this. Names are clip.safetensors's; each number is the greatest difference, with either layout and
on one and two threads, as a share of the greatest element. Those under 1e-5 are left out.
"""

import json
from pathlib import Path

import clip
import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).parent
CONFIG = clip.KINDS["clip"][0]
GOLDEN = load_file(FOLDER / "clip.safetensors")


def all_of(dtype, layout, threads):
    torch.set_num_threads(threads)
    build = clip.build
    clip.build = lambda *arguments: build(*arguments).to(dtype=dtype, memory_format=layout)
    weights = {n.removeprefix("weights/"): t for n, t in GOLDEN.items() if n.startswith("weights/")}
    weights = {n: t.to(dtype) if t.is_floating_point() else t for n, t in weights.items()}
    pixels, tokens = (GOLDEN["images"].to(dtype) / 64 - 2).contiguous(memory_format=layout), GOLDEN["tokens"]
    out = {f"trained/{name}": tensor for name, tensor in clip.trained(CONFIG, weights, pixels, tokens).items()}
    for quick_gelu, name in [(False, "gelu"), (True, "quick")]:
        out |= {f"{name}/{key}": tensor for key, tensor in clip.computed(CONFIG, weights, quick_gelu, pixels, tokens).items()}
    clip.build = build
    return {name: tensor.double() for name, tensor in out.items() if name in GOLDEN}


def main():
    exact = all_of(torch.float64, torch.contiguous_format, 1)
    layouts = [torch.contiguous_format, torch.channels_last]
    runs = [all_of(torch.float32, layout, threads) for layout in layouts for threads in [1, 2]]
    error = lambda run, name: ((run[name] - exact[name]).abs().max() / exact[name].abs().max().clamp_min(1e-3)).item()
    worst = {name: max(error(run, name) for run in runs) for name in sorted(exact)}
    rounding = {name: float(f"{error:.2e}") for name, error in worst.items() if error >= 1e-5}
    (FOLDER / "rounding.json").write_text(json.dumps(rounding, indent=1) + "\n")


if __name__ == "__main__":
    main()
