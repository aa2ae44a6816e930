"""Makes clip_norm.safetensors: gradients of some shapes, and the same clipped by
torch.nn.utils.clip_grad_norm_.

    pip install torch safetensors
    python clip_norm.py

Read by core/src/golden.rs. Keys: `gradient/NUMBER`, one of them zero throughout and one a scalar,
and for each case `CASE/limit`, `CASE/norm` and `CASE/NUMBER`: `some` and `most` clip, `none` does
not reach the limit.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def main():
    torch.manual_seed(0)
    gradients = [torch.randn(3, 5, 2, 2), torch.randn(7) * 10, torch.zeros(4, 4), torch.randn(()), torch.randn(16, 8) * 1e-3]
    out = {f"gradient/{number}": gradient.clone() for number, gradient in enumerate(gradients)}
    for case, limit in [("some", 20.0), ("most", 0.5), ("none", 1e3)]:
        parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient.clone()
        out[f"{case}/norm"] = torch.nn.utils.clip_grad_norm_(parameters, limit)
        out[f"{case}/limit"] = torch.tensor(limit)
        out |= {f"{case}/{number}": parameter.grad for number, parameter in enumerate(parameters)}
    save_file(out, Path(__file__).with_name("clip_norm.safetensors"))


if __name__ == "__main__":
    main()
