"""Rebuilds data/src/downstream/names.json: the class names and prompt templates that CLIP uses for
the downstream sets.

    pip download --no-deps clip-benchmark==1.6.2 && unzip clip_benchmark-*.whl -d bench     # ImageNet's names and prompts
    pip download --no-deps timm && unzip timm-*.whl -d timm                                 # WordNet ids, in ImageNet's order
    python setup/downstream_tables.py prompts.md bench timm            # writes the table
    python setup/downstream_tables.py prompts.md bench timm --check    # only checks that it is up to date

prompts.md is data/prompts.md of github.com/openai/CLIP. Each class is found by its label, as the
set's own files write it, so no order is assumed: CLIP lists pets in another order than that of
their label numbers.
"""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "data/src/downstream/names.json"

# Name of the set, its heading in prompts.md, its number of classes.
SETS = [
    ("cifar10", "CIFAR10", 10),
    ("cifar100", "CIFAR100", 100),
    ("food101", "Food101", 101),
    ("dtd", "DescribableTextures", 47),
    ("aircraft", "FGVCAircraft", 100),
    ("flowers102", "Flowers102", 102),
    ("caltech101", "Caltech101", 102),
    ("pets", "OxfordPets", 37),
    ("cars", "StanfordCars", 196),
]

# Folders of Caltech-101 that are not the name with `_` for spaces.
CALTECH = {
    "background": "BACKGROUND_Google",
    "off-center face": "Faces",
    "centered face": "Faces_easy",
    "leopard": "Leopards",
    "motorbike": "Motorbikes",
    "airplane": "airplanes",
    "side of a car": "car_side",
    "body of a cougar cat": "cougar_body",
    "face of a cougar cat": "cougar_face",
    "head of a  crocodile": "crocodile_head",
    "head of a flamingo": "flamingo_head",
    "snoopy (cartoon beagle)": "snoopy",
    "yin and yang symbol": "yin_yang",
}


def label(name, which, number):
    """How the set's own files write a class."""
    if which == "flowers102":
        return str(number)  # imagelabels.mat holds numbers from 1
    if which in ("aircraft", "cars"):
        return name
    if which == "caltech101" and name in CALTECH:
        return CALTECH[name]
    return name.replace(" ", "_")


def section(text, heading):
    """Classes and templates under a heading: two Python lists."""
    body = re.search(rf"^## {heading}\n.*?```bash\n(.*?)```", text, re.DOTALL | re.MULTILINE)[1]
    lists = {target.id: ast.literal_eval(node.value) for node in ast.parse(body).body for target in node.targets}
    return lists["classes"], lists["templates"]


def imagenet(bench, timm):
    """Names and templates of ImageNet by WordNet id: CLIP's notebook, as clip-benchmark ships
    it."""
    folder = bench / "clip_benchmark/datasets"
    names = json.loads((folder / "en_classnames.json").read_text())["imagenet1k"]
    templates = json.loads((folder / "en_zeroshot_classification_templates.json").read_text())["imagenet1k"]
    ids = (timm / "timm/data/_info/imagenet_synsets.txt").read_text().split()
    assert len(ids) == len(names) == 1000 and ids == sorted(ids)
    return dict(zip(ids, names)), [template.replace("{c}", "{}") for template in templates]


def table(options):
    text, sets = options.prompts.read_text(), {}
    for which, heading, count in SETS:
        names, templates = section(text, heading)
        classes = {label(name, which, number): name for number, name in enumerate(names, 1)}
        assert len(names) == len(classes) == count, which
        sets[which] = {"classes": classes, "templates": templates}
    classes, templates = imagenet(options.bench, options.timm)
    sets["imagenet"] = {"classes": classes, "templates": templates}
    # One class a line would be 1,900 lines; one list a line can still be compared.
    lines = []
    for which, entry in sets.items():
        parts = (f'"{key}":{json.dumps(value, ensure_ascii=False, separators=(",", ":"))}' for key, value in entry.items())
        lines.append(f'"{which}":{{\n' + ",\n".join(parts) + "}")
    return "{" + ",\n".join(lines) + "}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", type=Path)
    parser.add_argument("bench", type=Path)
    parser.add_argument("timm", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    made = table(options)
    if not options.check:
        TABLE.write_text(made)
    elif TABLE.read_text() != made:
        sys.exit(f"{TABLE} is not what this script makes")


if __name__ == "__main__":
    main()
