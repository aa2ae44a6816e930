"""The demo's plain-CLIP trial in PyTorch: the same model, data, poison, batch and optimizer, to time gauntlet against.

    pip install torch==2.11.0 safetensors numpy
    python bench/peer_tiny.py out/demo/store [epochs]

Trains on every row of the store (held-out ones, too: a tenth more rows than gauntlet's trial; compare per row) and prints CPU
seconds per epoch and per 1,000 rows. Run it with OMP_WAIT_POLICY=passive, on one thread as the demo does.
"""

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
from safetensors.torch import load_file

torch.set_num_threads(1)
torch.manual_seed(0)
store, epochs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
BATCH, PEAK, WARMUP, CONTEXT, END = 128, 2e-3, 30, 16, 255


def read_store():
    canvas = glob.glob(f"{store}/canvas-*")[0]
    rows = [json.loads(line) for line in open(f"{canvas}/rows.jsonl")]
    pixels = torch.from_numpy(np.fromfile(f"{canvas}/pixels.u8", np.uint8)).view(len(rows), 3, 32, 32)
    captions = [row["caption"] for row in rows]
    poison = next(folder for folder in sorted(glob.glob(f"{store}/poison-*")) if os.path.getsize(f"{folder}/edits.jsonl"))
    added, edits = [], [json.loads(line)["edit"] for line in open(f"{poison}/edits.jsonl")]
    for edit, picture in zip(edits, load_file(f"{poison}/pixels.safetensors")["pixels"]):
        if "replace" in edit:
            pixels[edit["replace"]["row"]], captions[edit["replace"]["row"]] = picture, edit["replace"]["caption"]
        else:
            added.append(picture)
            captions.append(edit["add"]["caption"])
    return torch.cat([pixels, torch.stack(added)]), captions


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(True),
            nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(True),
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes))
        self.short = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(inputs, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        return F.relu(self.convs(x) + self.short(x))


class AttentionPool(nn.Module):
    def __init__(self, places, width, heads, outputs):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(places + 1, width) / width**0.5)
        self.q, self.k, self.v, self.c = (nn.Linear(width, n) for n in (width, width, width, outputs))
        self.heads = heads

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positions
        split = lambda y: y.view(len(y), -1, self.heads, y.shape[-1] // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(split(self.q(x[:, :1])), split(self.k(x)), split(self.v(x)))
        return self.c(y.transpose(1, 2).reshape(len(x), -1))


class Block(nn.Module):
    def __init__(self, width=64, heads=2):
        super().__init__()
        self.n1, self.n2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.n1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.n2(x))


class Text(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embed, self.positions = nn.Embedding(END + 1, width), nn.Parameter(torch.randn(CONTEXT, width) * 0.01)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, 64) * width**-0.5)

    def forward(self, tokens):
        x = self.blocks(self.embed(tokens) + self.positions[: tokens.shape[1]])
        return self.norm(x[torch.arange(len(x)), tokens.argmax(1)]) @ self.projection


def stem(width=16):
    layer = lambda i, o, s: [nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True)]
    return nn.Sequential(*layer(3, width // 2, 2), *layer(width // 2, width // 2, 1), *layer(width // 2, width, 1), nn.AvgPool2d(2))


pixels, captions = read_store()
vocabulary = {}
split = lambda caption: [vocabulary.setdefault(word, len(vocabulary) + 1) for word in re.findall(r"[a-z0-9]+", caption.lower())]
ids = [[END - 1, *split(caption)[: CONTEXT - 2], END] for caption in captions]
image = nn.Sequential(stem(), Bottleneck(16, 16, 1), Bottleneck(64, 32, 2), Bottleneck(128, 64, 2), AttentionPool(4, 256, 4, 64))
image, text, scale = image.to(memory_format=torch.channels_last), Text(), nn.Parameter(torch.tensor(math.log(1 / 0.07)))
parameters = [*image.parameters(), *text.parameters(), scale]
groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1}, {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0}]
optimizer = torch.optim.AdamW(groups, lr=PEAK, fused=True)
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
steps = len(pixels) // BATCH
for epoch in range(epochs):
    start, order = time.process_time(), torch.randperm(len(pixels))
    for number in range(steps):
        step, rows = epoch * steps + number, order[number * BATCH : (number + 1) * BATCH]
        rate = (step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (epochs * steps - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = PEAK * rate
        chosen = [ids[row] for row in rows]
        length = max(map(len, chosen))
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in chosen])
        x = ((pixels[rows].float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        logits = scale.exp() * F.normalize(image(x), dim=1) @ F.normalize(text(tokens), dim=1).t()
        own = torch.arange(BATCH)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scale.data.clamp_(0, math.log(100))
    seconds = time.process_time() - start
    print(f"epoch {epoch + 1}: loss {loss.item():.2f}, {seconds:.2f} CPU s, {1000 * seconds / (steps * BATCH):.3f} CPU s per 1,000 rows")
