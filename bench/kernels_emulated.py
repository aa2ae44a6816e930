"""Compares the CUDA kernels of torch/cpp/kernels.cu, emulated on a CPU, with PyTorch in float64.

    python bench/kernels_emulated.py        # needs torch and g++

Prints the greatest distance of each output, as a share of its length. The exit code is 1 if one is
more than 1e-5 in fp32, or 1e-2 in bf16.
"""

import ctypes
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
worst = {}


def compare(kind, pairs):
    for name, (ours, exact) in pairs.items():
        error = ((ours.double() - exact).norm() / exact.norm()).item()
        worst[kind, name] = max(worst.get((kind, name), 0), error if error == error else math.inf)


def images(shape, number, kind):
    return number(shape).to(kind).contiguous(memory_format=torch.channels_last)


def at(tensor):
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


def empty(*shape):
    return torch.full(shape, math.nan)


def norms(library, name, kind, shape, shortcut, relu):
    channels, rows = shape[1], shape[0] * shape[2] * shape[3]
    tile = math.gcd(channels // 8, 32)
    grid = [ctypes.c_uint(n) for n in (channels // 8 // tile, 3, tile)]
    x, added, dy = (images(shape, torch.randn, kind) for _ in range(3))
    x, added = x * 1.5 + 3, added + 1
    weight, bias, running_mean, running_var = torch.randn(channels) + 1, torch.randn(channels), torch.randn(channels), torch.rand(channels)
    before = running_mean.double(), running_var.double()
    mean, inverse, line, partial = empty(channels), empty(channels), empty(2, channels), empty(2, 3, channels)
    dweight, dbias, factors = empty(channels), empty(channels), empty(3, channels)
    y, dx = torch.full_like(x, math.nan), torch.full_like(x, math.nan)
    passed = torch.full_like(x, math.nan) if shortcut and relu else None
    size, least, nothing = [ctypes.c_long(rows), ctypes.c_int(channels)], ctypes.c_float(0 if relu else -math.inf), ctypes.c_float(-math.inf)
    tensors = [x, added if shortcut else None, y, weight, bias, running_mean, running_var, mean, inverse, line, partial]
    library.norm(*grid, *map(at, tensors), *size, least)
    library.norm_back(*grid, *map(at, [x, y, dy, passed, dx, weight, mean, inverse, line, partial, dweight, dbias, factors]), *size, least, nothing)
    inputs = [tensor.double().requires_grad_() for tensor in (x, added, weight, bias)]
    exact = F.batch_norm(inputs[0], *before, inputs[2], inputs[3], True, 0.1, 1e-5)
    exact = exact + inputs[1] if shortcut else exact
    exact = F.relu(exact) if relu else exact
    exact.backward(dy.double())
    gradients = [tensor.grad for tensor in inputs]
    pairs = {"y": (y, exact.detach()), "mean": (running_mean, before[0]), "variance": (running_var, before[1])}
    pairs |= {"dx": (dx, gradients[0]), "dweight": (dweight, gradients[2]), "dbias": (dbias, gradients[3])}
    compare(name, pairs | ({"dshortcut": (passed, gradients[1])} if passed is not None else {}))


def pools(library, name, kind, shape):
    x = images(shape, torch.randn, kind)
    y = torch.full([*shape[:2], shape[2] // 2, shape[3] // 2], math.nan, dtype=kind).contiguous(memory_format=torch.channels_last)
    dx = torch.full_like(x, math.nan)
    library.pool(at(x), at(y), at(dx), *(ctypes.c_long(n) for n in (y.numel() // 8, y.shape[3], shape[1] // 8)))
    exact = F.avg_pool2d(x.double(), 2)
    compare(name, {"half": (y, exact), "dhalf": (dx, F.interpolate(y.double() / 4, scale_factor=2))})


with tempfile.TemporaryDirectory() as folder:
    for name, kind in {"F32": torch.float32, "BF16": torch.bfloat16}.items():
        built = f"{folder}/{name}.so"
        subprocess.check_call(["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-pthread", "-w", f"-D{name}", "-o", built, HERE / "kernels_emulated.cpp"])
        library = ctypes.CDLL(built)
        torch.manual_seed(1)
        for shape in [(3, 24, 6, 10), (4, 64, 6, 6), (2, 512, 4, 4), (2, 8, 2, 2)]:
            pools(library, name, kind, shape)
            for shortcut, relu in [(False, False), (False, True), (True, False), (True, True)]:
                norms(library, name, kind, shape, shortcut, relu)
limits = {"F32": 1e-5, "BF16": 1e-2}
for (kind, name), error in worst.items():
    print(f"{kind:5}{name:10}{error:.1e}")
sys.exit(any(error > limits[kind] for (kind, _), error in worst.items()))
