"""Trains a trial of the embedded world in PyTorch: the same model, data, poison, batch, optimizer
and epochs. `trials.py` times gauntlet beside it.

    pip install torch==2.11.0 torchvision==0.26.0 safetensors numpy pillow
    target/release/gauntlet run suites/demo.toml --out out/demo --only poisoned/clip/seed-10
    OMP_WAIT_POLICY=passive python bench/trial_peer.py out/demo poisoned/clip/seed-10 [--epochs 3] [--compile]

Reads the resolved trial and the store that gauntlet left, which holds one arena's poison. Trains on
every row of the store (held-out ones, too: a tenth more rows than gauntlet's trial; compare per
row). Prints JSON: CPU seconds per 1,000 rows of each epoch, all threads, reading included, on one
thread as the suites do. A defense that augments does so as RoCLIP's release does, image by image
with PIL (its captions are not edited). `roclip` looks images up, in its own epochs, in a pool of 2%
of the captions, whose embeddings come without gradient. The first epoch of `--compile` compiles.
"""

import argparse
import glob
import json
import math
import os
import re
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import tiny_model
from safetensors.torch import load_file
from tiny_model import CONTEXT, END

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out")
parser.add_argument("trial")
parser.add_argument("--epochs", type=int, help="stop after so many")
parser.add_argument("--compile", action="store_true")
given = parser.parse_args()
store, trial = f"{given.out}/store", json.load(open(f"{given.out}/trials/{given.trial}/trial.json"))
recipe, defense = trial["recipe"], trial["defense"]["config"]
BATCH, PEAK, WARMUP, EPOCHS = (recipe[key] for key in ("batch", "learning_rate", "warmup_steps", "epochs"))
matches = lambda epoch: "pool" in defense and epoch >= defense["first"] and (epoch - defense["first"]) % defense["every"] == 0
torch.set_num_threads(trial["threads"])
torch.manual_seed(0)
# A row of the index (data/src/index.rs).
RECORD = np.dtype({"names": ["text", "start", "size", "file", "caption", "key", "label"], "formats": ["<u8", "<u8", "<u4", "<u4", "<u4", "<u2", "<u2"]})


def read_store():
    index, canvas = glob.glob(f"{store}/index-*")[0], glob.glob(f"{store}/canvas-*")[0]
    rows, text = np.fromfile(f"{index}/rows.bin", RECORD), open(f"{index}/text.bin", "rb").read()
    caption = lambda row: text[row["text"] + row["key"] :][: row["caption"]].decode()
    pixels = torch.from_numpy(np.fromfile(f"{canvas}/pixels.u8", np.uint8)).view(len(rows), 3, 32, 32)
    captions = [caption(row) for row in rows]
    poison = next(folder for folder in sorted(glob.glob(f"{store}/poison-*")) if os.path.getsize(f"{folder}/edits.jsonl"))
    added, edits = [], [json.loads(line)["edit"] for line in open(f"{poison}/edits.jsonl")]
    for edit, photo in zip(edits, load_file(f"{poison}/pixels.safetensors")["pixels"]):
        if edit["replaces"] is not None:  # core/src/attack.rs, Edit
            pixels[edit["replaces"]], captions[edit["replaces"]] = photo, edit["caption"]
        else:
            added.append(photo)
            captions.append(edit["caption"])
    return torch.cat([pixels, *(photo[None] for photo in added)]), captions


pixels, captions = read_store()
vocabulary = {}
split = lambda caption: [vocabulary.setdefault(word, len(vocabulary) + 1) for word in re.findall(r"[a-z0-9]+", caption.lower())]
ids = [[END - 1, *split(caption)[: CONTEXT - 2], END] for caption in captions]
(image, text), scale = tiny_model.towers(), nn.Parameter(torch.tensor(math.log(1 / 0.07)))
parameters = [*image.parameters(), *text.parameters(), scale]
groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1}, {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0}]
optimizer = torch.optim.AdamW(groups, lr=PEAK, fused=True)
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
steps = len(pixels) // BATCH
pool, oldest = F.normalize(torch.randn(len(pixels) // 50, 64), dim=1), 0


def augmentation():
    """RoCLIP's release (model/utils/augment_image.py) at the demo's settings; sizes of the blur in
    pixels of 32."""
    from torchvision import transforms as T

    jitter = T.RandomApply([T.ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8)
    blur = T.GaussianBlur(3, sigma=(0.1, 0.8))
    crop = T.RandomResizedCrop(32, scale=(0.8, 1.0))
    return T.Compose([T.ToPILImage(), T.RandomHorizontalFlip(), crop, jitter, T.RandomGrayscale(0.2), blur, T.PILToTensor()])


def encode(x, tokens):
    return F.normalize(image(x), dim=1), F.normalize(text(tokens), dim=1)


def clip_loss(images, texts):
    logits, own = scale.exp() * images @ texts.t(), torch.arange(BATCH)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2


def plain_loss(x, tokens):
    return clip_loss(*encode(x, tokens))


def matched_loss(x, tokens):
    """Looks up before the batch's captions enter the pool; the text tower gives embeddings only."""
    global oldest
    images = F.normalize(image(x), dim=1)
    with torch.no_grad():
        texts = F.normalize(text(tokens), dim=1)
        found = pool[(images @ F.normalize(pool, dim=1).t()).argmax(1)]
        places = (torch.arange(BATCH) + oldest) % len(pool)
        pool[places], oldest = texts, (oldest + BATCH) % len(pool)
    return clip_loss(images, found)


augment = augmentation() if "augmentation" in defense else None
if given.compile:
    image, text, clip_loss = torch.compile(image), torch.compile(text), torch.compile(clip_loss)
report = []
for epoch in range(given.epochs or EPOCHS):
    loss_of = matched_loss if matches(epoch + 1) else plain_loss
    start, order = time.process_time(), torch.randperm(len(pixels))
    for number in range(steps):
        step, rows = epoch * steps + number, order[number * BATCH : (number + 1) * BATCH]
        rate = (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (EPOCHS * steps - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = PEAK * rate
        chosen = [ids[row] for row in rows]
        length = max(map(len, chosen))
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in chosen])
        canvases = torch.stack([augment(photo) for photo in pixels[rows]]) if augment else pixels[rows]
        x = ((canvases.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        loss = loss_of(x, tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scale.data.clamp_(0, math.log(100))
    seconds = (time.process_time() - start) / (steps * BATCH) * 1000
    report.append(seconds)
    print(f"epoch {epoch + 1}: loss {loss.item():.2f}, {seconds:.3f} CPU s per 1,000 rows", file=sys.stderr, flush=True)
print(json.dumps(report))
