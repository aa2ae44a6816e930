"""The demo's model (core/src/model/tiny.json) in plain PyTorch, for `trial_peer.py`, `peers.py` and
`floors.py`."""

import torch
import torch.nn as nn
import torch.nn.functional as F

CONTEXT, END = 16, 255


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


def towers():
    """Image tower, channels last, and text tower."""
    image = nn.Sequential(stem(), Bottleneck(16, 16, 1), Bottleneck(64, 32, 2), Bottleneck(128, 64, 2), AttentionPool(4, 256, 4, 64))
    return image.to(memory_format=torch.channels_last), Text()
