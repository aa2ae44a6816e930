"""Makes the files in checkpoints/: weights as PyTorch saves them, and files that must be refused.

    pip install torch==2.11.0 open_clip_torch==3.3.0
    python checkpoints.py [FOLDER]

Read by the tests in core/src/model/checkpoint.rs. The model is a vision transformer of the smallest
size. Element number n of tensor number i (by name) is (n % 8) / 8 + i % 4, which every kind of
float can hold. `half.pt` has it in half precision; `training.pt` as bfloat16 and in the names of a
wrapped model, within a training's checkpoint: epoch, optimizer, scaler. `small.pt`: a few tensors
that share a storage, overlap in it, are empty or are parameters. To be refused: `code.pt`, which
would print if it were unpickled; `script.pt`, a TorchScript archive; `model.pt`, a whole module.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import open_clip
import torch

HERE = Path(__file__).parent
VISION = dict(image_size=16, layers=1, width=8, head_width=8, patch_size=8)
TEXT = dict(context_length=8, vocab_size=20, width=8, heads=1, layers=1)


class Code:
    def __reduce__(self):
        return print, ("this pickle was run",)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "checkpoints"
    out.mkdir(exist_ok=True)
    weights = open_clip.CLIP(embed_dim=8, vision_cfg=VISION, text_cfg=TEXT).state_dict()
    for number, name in enumerate(sorted(weights)):
        values = torch.arange(weights[name].numel()) % 8 / 8 + number % 4
        weights[name] = values.reshape(weights[name].shape)
    torch.save(OrderedDict((name, tensor.half()) for name, tensor in weights.items()), out / "half.pt")
    wrapped = OrderedDict((f"module.{name}", tensor.bfloat16()) for name, tensor in weights.items())
    wrapped._metadata = weights._metadata
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, "name": "run", "state_dict": wrapped, "optimizer": optimizer.state_dict(), "scaler": {"scale": 65536.0}}, out / "training.pt")
    storage = torch.arange(6.0)
    small = {"w": storage.view(2, 3), "across": storage.view(2, 3).t(), "part": storage[2:5], "empty": torch.zeros(0, 4), "parameter": parameter}
    torch.save(small, out / "small.pt")
    torch.save({"weights": storage, "more": Code()}, out / "code.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(out / "script.pt"))
    torch.save(torch.nn.Linear(2, 2), out / "model.pt")


if __name__ == "__main__":
    main()
