"""Makes recipe.safetensors: the learning rate, and a text tower without gradient, in RoCLIP's
released code.

    pip install torch safetensors
    python recipe.py

Read by the tests in core/src/recipe/schedule.rs and core/src/train/adamw.rs. Keys: `rate/cosine`
and `rate/cosine-from-epoch-1`, the rate of every 50th step of 24 epochs of 1,000,000 pairs in
batches of 512, counted right and as the release counts; `zero/gradient/STEP/NAME` and
`zero/STEP/NAME`, gradients and parameters over six steps of PyTorch's AdamW (step 0: the start), of
which the last four leave the text tower a gradient of zero. Weight decay is left out by name alone,
as in the release.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

PEAK, WARMUP, EPOCHS, BATCHES = 5e-5, 10_000, 24, 1_000_000 // 512
SHAPES = {
    "transformer.resblocks.0.mlp.c_fc.weight": (4, 3),
    "transformer.resblocks.0.ln_1.weight": (3,),
    "visual.conv1.weight": (2, 3, 2, 2),
}


def rate(position):
    """The rate at a position (in steps) of the whole training."""
    if position < WARMUP:
        return PEAK * (position + 1) / WARMUP
    return PEAK * (1 + math.cos(math.pi * (position - WARMUP) / (BATCHES * EPOCHS - WARMUP))) / 2


def rates(first_epoch):
    """The rate of each step, at position epoch * BATCHES + index, with epochs counted from
    `first_epoch`."""
    epochs = range(first_epoch, first_epoch + EPOCHS)
    every = [rate(epoch * BATCHES + index) for epoch in epochs for index in range(BATCHES)]
    return torch.tensor(every[::50], dtype=torch.float64)


def zero_gradients():
    parameters = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in SHAPES.items()}
    bare = lambda name: any(part in name for part in ["bn", "ln", "bias", "logit_scale"])
    groups = [
        {"params": [p for n, p in parameters.items() if bare(n)], "weight_decay": 0.0},
        {"params": [p for n, p in parameters.items() if not bare(n)], "weight_decay": 0.1},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
    out = {f"zero/0/{name}": p.detach().clone() for name, p in parameters.items()}
    for step in range(1, 7):
        for name, parameter in parameters.items():
            is_text = not name.startswith("visual.")
            parameter.grad = torch.randn_like(parameter) * (0 if is_text and step > 2 else 1)
            out[f"zero/gradient/{step}/{name}"] = parameter.grad.clone()
        optimizer.step()
        out |= {f"zero/{step}/{name}": p.detach().clone() for name, p in parameters.items()}
    return out


def main():
    torch.manual_seed(0)
    out = {"rate/cosine": rates(0).float(), "rate/cosine-from-epoch-1": rates(1).float()} | zero_gradients()
    save_file(out, Path(__file__).with_name("recipe.safetensors"))


if __name__ == "__main__":
    main()
