"""Times image features of 10,000 images: gauntlet beside torchvision and PyTorch, the same weights
and cores, in turn.

    python bench/features.py FOLDER [--set cifar10] [--model RN50] [--threads 2] [--gauntlet target/release/gauntlet]

FOLDER holds the set as torchvision reads it (without one, `--fake 10000` writes an ImageFolder of
JPEGs first). Needs torch, torchvision, open_clip and safetensors. PyTorch's side is open_clip's
evaluation transform in a DataLoader, as its users run it, with as many workers as cores. Both embed
the same test images with the same random weights. Prints JSON: seconds, images a second, the ratio,
and the similarity of the features (mean cosine).
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_model

SETS = {
    "cifar10": lambda folder, transform: torchvision.datasets.CIFAR10(folder, train=False, transform=transform),
    "imagefolder": lambda folder, transform: torchvision.datasets.ImageFolder(Path(folder) / "test", transform=transform),
}


def fake(folder, count):
    """JPEGs of 400 x 300 with some structure, ten classes, in `train` and `test`."""
    rng = np.random.default_rng(0)
    for part, images in [("train", 10), ("test", count)]:
        for number in range(images):
            low = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            path = Path(folder) / part / f"class{number % 10}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(low).resize((400, 300), Image.BICUBIC).save(path, quality=90)


def pytorch(model, transform, arguments):
    data = SETS[arguments.set](arguments.folder, transform)
    loader = torch.utils.data.DataLoader(data, batch_size=arguments.batch, num_workers=arguments.workers)
    began = time.time()
    with torch.no_grad():
        features = [model.encode_image(images) for images, _ in loader]
    return torch.cat(features), time.time() - began


def gauntlet(weights, arguments, folder):
    """The time of the evaluation alone, from the trial's cost line; text and scores are a few
    classes."""
    command = [arguments.gauntlet, "eval", "--weights", weights, "--model", arguments.model, "--device", "cpu", "--json"]
    command += ["--threads", str(arguments.threads), "--downstream", f"{arguments.set}={arguments.folder}", "--out", folder]
    command += ["--evaluator", "downstream-zero-shot", "--set", f"downstream.{arguments.set}.options.allow_partial=true"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    seconds = next(line["evaluate_seconds"] for line in map(json.loads, lines) if line["line"] == "cost")
    files = list((Path(folder) / "store").glob("features-*.safetensors"))
    assert len(files) == 1, files
    return load_file(files[0])["features"], seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--set", default="imagefolder", choices=SETS)
    parser.add_argument("--fake", type=int, default=0)
    parser.add_argument("--model", default="RN50", help="a name, or a .json file in open_clip's form")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--gauntlet", default="target/release/gauntlet")
    arguments = parser.parse_args()
    if arguments.fake:
        fake(arguments.folder, arguments.fake)
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    name = arguments.model
    if name.endswith(".json"):
        open_clip.add_model_config(name)
        name = Path(name).stem
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "model.safetensors")
        save_model(model, weights)
        ours, our_seconds = gauntlet(weights, arguments, str(Path(folder) / "out"))
    load.append(os.getloadavg()[0])
    theirs, their_seconds = pytorch(model, transform, arguments)
    load.append(os.getloadavg()[0])
    cosine = torch.nn.functional.cosine_similarity(ours, theirs).mean().item()
    rate = lambda seconds: {"seconds": seconds, "pictures_per_second": len(ours) / seconds}
    report = {"model": arguments.model, "images": len(ours), "threads": arguments.threads, "load": load}
    report |= {"gauntlet": rate(our_seconds), "pytorch": rate(their_seconds), "ratio": their_seconds / our_seconds}
    print(json.dumps(report | {"mean_cosine": cosine}, indent=1))


if __name__ == "__main__":
    main()
