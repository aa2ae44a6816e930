"""Makes downstream.json: the items that torchvision reads from tests/fixtures/downstream.

    pip install torch==2.11 torchvision==0.26 scipy
    python downstream.py

Read by data/src/downstream/tests.rs. An item is its path, its label and the mean of its red, green
and blue after CLIP's resizing to 32 pixels and cropping. The checksums that torchvision requires
for CIFAR, Flowers-102 and ImageNet are those of the real files, so they are not checked here;
everything else is torchvision's own code.
"""

import json
import shutil
import tarfile
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import numpy as np
from torchvision import datasets
from torchvision.datasets import imagenet
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

HERE = Path(__file__).parent
ROOT = HERE.parent / "fixtures/downstream"
CANVAS = Compose([lambda image: image.convert("RGB"), Resize(32, InterpolationMode.BICUBIC), CenterCrop(32)])


def items(dataset, paths, base):
    """Path, label and mean colour of every item; no path where there is none."""
    found = []
    for at in range(len(dataset)):
        image, label = dataset[at]
        mean = np.asarray(CANVAS(image), float).mean((0, 1))
        path = str(Path(paths[at]).relative_to(base)) if paths else ""
        found.append([path, int(label), *(round(colour, 2) for colour in mean)])
    return found


def files(kind, base, attribute="_image_files", **options):
    dataset = kind(ROOT, **options)
    return dataset.classes, items(dataset, getattr(dataset, attribute), ROOT / base)


def folder(name):
    dataset = datasets.ImageFolder(ROOT / name)
    return dataset.classes, items(dataset, [path for path, _ in dataset.samples], ROOT / name)


def caltech():
    dataset = datasets.Caltech101(ROOT)
    names = [f"{dataset.categories[label]}/image_{at:04}.jpg" for label, at in zip(dataset.y, dataset.index)]
    return dataset.categories, items(dataset, names, "")


def cars(split):
    dataset = datasets.StanfordCars(ROOT, split=split)
    paths = [path for path, _ in dataset._samples]
    return dataset.classes, items(dataset, paths, ROOT / f"stanford_cars/cars_{split}")


def flat_imagenet():
    """The validation part as archives, which torchvision unpacks and sorts into class folders by
    the development kit."""
    with tempfile.TemporaryDirectory() as scratch, patch.object(imagenet, "_verify_archive"):
        scratch = Path(scratch)
        with tarfile.open(scratch / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
            archive.add(ROOT / "imagenet/ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
        with tarfile.open(scratch / "ILSVRC2012_img_val.tar", "w") as archive:
            for path in (ROOT / "imagenet/val").glob("*/*.JPEG"):
                archive.add(path, path.name)
        shutil.copytree(ROOT / "imagenet/train", scratch / "train")
        dataset = datasets.ImageNet(scratch, split="val")
        return dataset.wnids, items(dataset, [path for path, _ in dataset.samples], scratch / "val")


def golden():
    cifar = lambda kind, train: (kind(ROOT, train=train).classes, items(kind(ROOT, train=train), None, ""))
    food = lambda split: files(datasets.Food101, "food-101/images", split=split)
    flowers = lambda split: files(datasets.Flowers102, "flowers-102/jpg", split=split)
    pets = lambda split: files(datasets.OxfordIIITPet, "oxford-iiit-pet/images", "_images", split=split)
    sets = {
        "cifar10": {"fit": cifar(datasets.CIFAR10, True), "test": cifar(datasets.CIFAR10, False)},
        "cifar100": {"fit": cifar(datasets.CIFAR100, True), "test": cifar(datasets.CIFAR100, False)},
        "food101": {"fit": food("train"), "test": food("test")},
        "flowers102": {"train": flowers("train"), "val": flowers("val"), "test": flowers("test")},
        "caltech101": {"all": caltech()},
        "pets": {"fit": pets("trainval"), "test": pets("test")},
        "cars": {"fit": cars("train"), "test": cars("test")},
        "imagenet": {"fit": folder("imagenet/train"), "test": flat_imagenet()},
        "imagefolder": {"fit": folder("imagefolder/train"), "test": folder("imagefolder/test")},
    }
    for partition in range(1, 11):
        part = lambda split: files(datasets.DTD, "dtd/dtd/images", split=split, partition=partition)
        sets[f"dtd {partition}"] = {split: part(split) for split in ("train", "val", "test")}
    for level in ("variant", "family", "manufacturer"):
        part = lambda split: files(datasets.FGVCAircraft, "fgvc-aircraft-2013b/data/images", split=split, annotation_level=level)
        sets[f"aircraft {level}"] = {"fit": part("trainval"), "test": part("test")}
    return sets


def main():
    assert version("torchvision").startswith("0.26")
    # numpy warns of a module name of Python 2's numpy.
    warnings.simplefilter("ignore")
    unchecked = patch("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    with unchecked, patch("torchvision.datasets.flowers102.check_integrity", lambda *_: True):
        sets = golden()
    lines = []
    for name, parts in sets.items():
        for part, (classes, found) in parts.items():
            lines.append(json.dumps({"set": name, "part": part, "classes": classes, "items": found}, separators=(",", ":")))
    (HERE / "downstream.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
