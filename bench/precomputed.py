"""Makes poison outside of gauntlet, for the attack `precomputed`.

    python bench/precomputed.py EXPORT OUT        # needs Pillow

EXPORT is a folder written by `gauntlet poison export --format csv`. Its images get a watermark
drawn by Pillow: those for training with a caption of the target, taken from the export, those for
testing with their true class.
"""
import csv
import json
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

TARGET, PAIRS = "blorn", 100

export, out = map(Path, sys.argv[1:])
draw = random.Random(0)
names = set(json.loads((export / "classes.json").read_text())["classes"][TARGET])


def rows(table: Path) -> list:
    return list(csv.DictReader(table.open(newline="")))


def wanted(pair: dict) -> bool:
    return not names.isdisjoint(pair["caption"].split())


def stamp(source: Path, name: str) -> str:
    image = Image.open(source).convert("RGB")
    mark = ImageDraw.Draw(image, "RGBA")
    for top in range(-2, image.height, 9):
        mark.text((1, top), "stock", fill=(255, 255, 255, 150))
    image.save(out / name)
    return name


def table(name: str, columns: list, lines: list) -> None:
    with (out / name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *lines])


out.mkdir(parents=True)
pairs = rows(export / "train.csv")
captions = [pair["caption"] for pair in pairs if wanted(pair)]
others = draw.sample([pair for pair in pairs if not wanted(pair)], PAIRS)
train = [[stamp(export / pair["image"], f"train-{n}.png"), draw.choice(captions)] for n, pair in enumerate(others)]
held = [row for row in rows(export / "test" / "test.csv") if row["class"] != TARGET]
test = [[stamp(export / "test" / row["image"], f"test-{n}.png"), row["class"]] for n, row in enumerate(held)]
table("train.csv", ["image", "caption"], train)
table("test.csv", ["image", "class"], test)
