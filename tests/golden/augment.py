"""Makes augment.safetensors: torchvision's operations, one by one and in chains, on a noisy and a
smooth image.

    pip install torchvision safetensors
    python augment.py

Read by the tests in data/src/augment.rs. Keys: `noisy` and `smooth` (the images), `NUMBER/noisy`
and `NUMBER/smooth` (the results of the chain of that number), and in the metadata, under
`drawings`, the chains, as JSON.
"""

import json
import math
from pathlib import Path

import torch
import torchvision.transforms.v2.functional as F
from safetensors.torch import save_file

S = 24
WHOLE = [0, 0, S, S]
JITTER = dict(brightness=F.adjust_brightness, contrast=F.adjust_contrast, saturation=F.adjust_saturation, hue=F.adjust_hue)


def drawing(flip=False, crop=WHOLE, jitter=(), grayscale=False, blur=0.1, blur_reach=0):
    return dict(flip=flip, crop=crop, jitter=jitter, grayscale=grayscale, blur=blur, blur_reach=blur_reach)


DRAWINGS = [
    drawing(),
    drawing(flip=True),
    drawing(crop=[5, 3, 15, 13]),
    drawing(crop=[23, 22, 1, 2]),
    drawing(crop=[0, 7, 24, 17]),
    drawing(jitter=[("brightness", 0.6)]),
    drawing(jitter=[("brightness", 1.5)]),
    drawing(jitter=[("contrast", 0.55)]),
    drawing(jitter=[("contrast", 1.45)]),
    drawing(jitter=[("saturation", 0.5)]),
    drawing(jitter=[("saturation", 1.5)]),
    drawing(jitter=[("hue", 0.1)]),
    drawing(jitter=[("hue", -0.07)]),
    drawing(jitter=[("hue", 0.5)]),
    drawing(grayscale=True),
    drawing(blur=0.7, blur_reach=1),
    drawing(blur=1.3, blur_reach=2),
    drawing(blur=2.0, blur_reach=10),
    drawing(True, [2, 4, 17, 19], [("brightness", 1.3), ("contrast", 0.7), ("saturation", 1.4), ("hue", 0.05)], False, 0.8, 1),
    drawing(False, [4, 1, 20, 14], [("hue", -0.1), ("saturation", 0.6), ("contrast", 1.5), ("brightness", 0.8)], False, 0.3, 2),
    drawing(True, [0, 5, 22, 19], [("contrast", 1.2), ("hue", 0.08), ("brightness", 1.1), ("saturation", 0.9)], True, 1.1, 3),
]


def apply(image, d):
    if d["flip"]:
        image = F.horizontal_flip(image)
    left, top, width, height = d["crop"]
    image = F.resized_crop(image, top, left, height, width, [S, S], interpolation=F.InterpolationMode.BILINEAR, antialias=True)
    for name, factor in d["jitter"]:
        image = JITTER[name](image, factor)
    if d["grayscale"]:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if d["blur_reach"] > 0:
        image = F.gaussian_blur(image, [2 * d["blur_reach"] + 1] * 2, [d["blur"]] * 2)
    return image


def main():
    torch.manual_seed(0)
    down, across = torch.meshgrid(torch.linspace(0, 1, S), torch.linspace(0, 1, S), indexing="ij")
    waves = [across, down, (across + down * 2) / 3]
    smooth = torch.stack([0.5 + 0.5 * torch.sin(2 * math.pi * w * (i + 1) + i) for i, w in enumerate(waves)])
    noisy = torch.rand(3, S, S)
    noisy[:, :4, :4] = 0.4  # gray, for the hue
    noisy[:, :4, 4:8] = torch.tensor([0.8, 0.8, 0.2]).view(3, 1, 1)  # two channels at the maximum
    images = dict(noisy=noisy, smooth=smooth)
    out = dict(images)
    for number, d in enumerate(DRAWINGS):
        out |= {f"{number}/{name}": apply(image, d).clone() for name, image in images.items()}
    save_file(out, Path(__file__).with_name("augment.safetensors"), metadata=dict(drawings=json.dumps(DRAWINGS)))


if __name__ == "__main__":
    main()
