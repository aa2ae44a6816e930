"""Makes triggers.safetensors: images stamped by the papers' formulas, with numpy, torch and PIL,
for the triggers of attacks/src.

    pip install torch numpy pillow safetensors pilgram==2.0.0
    python triggers.py

Keys: `canvas-32` and `canvas-64` (two images made square and one of 56x48 squeezed), what is drawn
(`noise`, `grid-K`, `signs`), and `TRIGGER/SIZE`: those images stamped. Values are rounded to 8 bits
once, at the end; pilgram rounds after each operation.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pilgram import nashville
from safetensors.torch import save_file

rng = np.random.default_rng(0)


def images():
    """One of noise, one smooth, one of 56x48 with edges; PIL, RGB."""
    down, across = np.mgrid[0:32, 0:32] / 31
    smooth = np.stack([across, down, (1 + np.sin(9 * across * down)) / 2], -1)
    edges = rng.integers(0, 256, (6, 7, 3)).repeat(8, 0).repeat(8, 1)
    arrays = [rng.integers(0, 256, (32, 32, 3)), (smooth * 255).round(), edges]
    return [Image.fromarray(array.astype(np.uint8)) for array in arrays]


def planes(image):
    return np.asarray(image).transpose(2, 0, 1)


def bytes_of(images):
    """Unit range to 8 bits."""
    return torch.from_numpy(np.rint(np.clip(np.asarray(images), 0, 1) * 255).astype(np.uint8))


def grid_patch(size):
    patch = np.zeros((3, size, size))
    patch[:, ::2, ::2] = 1
    return patch


def paste_corners(images, patch):
    out, size = images.copy(), patch.shape[-1]
    for rows in (slice(0, size), slice(-size, None)):
        for columns in (slice(0, size), slice(-size, None)):
            out[:, :, rows, columns] = patch
    return out


def sine(size, amplitude):
    return amplitude / 255 * np.sin(2 * np.pi * 6 * np.arange(size) / size)


def warp(images, grid, strength):
    """Nguyen and Tran 2021, section 3.3."""
    size = images.shape[-1]
    grid = torch.from_numpy(grid) / torch.from_numpy(grid).abs().mean()
    field = F.interpolate(grid, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    line = torch.linspace(-1, 1, size)
    identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    where = (identity + strength * field / size).clamp(-1, 1).expand(len(images), -1, -1, -1)
    return F.grid_sample(torch.from_numpy(images).float(), where, align_corners=True)


def main():
    out = {}
    noise = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    signs = rng.choice([-1, 1], (3, 32)).astype(np.float32)
    out |= {"noise": torch.from_numpy(noise), "signs": torch.from_numpy(signs)}
    grids = {k: rng.uniform(-1, 1, (1, 2, k, k)).astype(np.float32) for k in (4, 32)}
    out |= {f"grid-{k}": torch.from_numpy(grid) for k, grid in grids.items()}
    for size in (32, 64):
        canvases = [image.resize((size, size), Image.BICUBIC) for image in images()]
        u8 = np.stack([planes(canvas) for canvas in canvases])
        unit = u8 / 255
        out[f"canvas-{size}"] = torch.from_numpy(u8.copy())
        stamped = {"wanet/4": bytes_of(warp(unit, grids[4], 0.5))}
        if size == 32:
            stamped |= {
                "badnet/grid": bytes_of(paste_corners(unit, grid_patch(8))),
                "badnet/yellow": bytes_of(paste_corners(unit, np.array([1, 1, 0])[:, None, None] * np.ones((3, 8, 8)))),
                "blended": bytes_of(0.2 * noise / 255 + 0.8 * unit),
                "sig/cleanclip": bytes_of(0.2 * sine(size, 60) + 0.8 * unit),
                "sig/badclip": bytes_of(unit + sine(size, 60)),
                "sig/backdoorbench": bytes_of(unit + sine(size, 40)),
                "wanet/32": bytes_of(warp(unit, grids[32], 1)),
                "stripes": bytes_of(0.97 * unit + 0.03 * signs[:, None, :]),
                "nashville": torch.from_numpy(np.stack([planes(nashville(canvas)) for canvas in canvases])),
            }
        out |= {f"{name}/{size}": pixels for name, pixels in stamped.items()}
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, Path(__file__).with_name("triggers.safetensors"))


if __name__ == "__main__":
    main()
