"""Times the paths of benches/ beside their peers in Python, in turn, as ratios; prints a table for
docs/performance.md.

    pip install torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0
    OMP_WAIT_POLICY=passive python bench/peers.py [--rounds 3] [--only TEXT] [--compile] [--peers-only]

Each round times gauntlet (`cargo bench`, which builds first) and then every peer. A ratio is the
median over rounds of peer over gauntlet, so above 1 gauntlet is faster. All on one thread, in time
on a core. Peers: PIL alone; open_clip's transforms; RoCLIP's transform as released
(model/utils/augment_image.py, then CLIP's); PyTorch's operations, which tests/golden compares with
gauntlet's.
"""

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
import open_clip
import tiny_model
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform
from PIL import Image
from torchvision import transforms as T

ROOT = Path(__file__).parent.parent
JPEG = (ROOT / "tests/fixtures/photo/photo.jpg").read_bytes()
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
torch.set_num_threads(1)


def decode():
    return Image.open(io.BytesIO(JPEG)).convert("RGB")


def roclip_augmentation(size):
    """RoCLIP's released augmentation of a PIL image, before CLIP's own transform; its blur reaches
    10 pixels of 224."""
    reach = max(1, round(size * 10 / 224))
    jitter = T.RandomApply([T.ColorJitter(0.5, 0.5, 0.5, 0.1)], p=0.8)
    blur = T.GaussianBlur(2 * reach + 1, sigma=(0.1 * size / 224, 2.0 * size / 224))
    return T.Compose([T.RandomHorizontalFlip(), T.RandomResizedCrop(size), jitter, T.RandomGrayscale(0.2), blur])


def step(image, text, scale, images, tokens, compiled):
    """A training step of a model in PyTorch, with gauntlet's optimizer."""
    parameters = [*image.parameters(), *text.parameters(), scale]
    optimizer = torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=1e-5, weight_decay=0.1, fused=True)
    own = torch.arange(len(images))

    def loss_of(images, tokens):
        logits = scale.exp() * F.normalize(image(images), dim=1) @ F.normalize(text(tokens), dim=1).t()
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def body():
        optimizer.zero_grad()
        loss_of(images, tokens).backward()
        optimizer.step()
        scale.data.clamp_(0, math.log(100))

    return body


def tiny_step(compiled):
    torch.manual_seed(0)
    image, text = tiny_model.towers()
    images = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    tokens = torch.randint(1, 254, (128, 12))
    tokens[:, -1] = tiny_model.END
    return step(image, text, torch.nn.Parameter(torch.tensor(2.66)), images, tokens, compiled)


class Text(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model.encode_text(tokens)


def rn50_step(compiled):
    model = open_clip.create_model("RN50").train().to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    tokens = torch.randint(1, 49407, (8, 77))
    tokens[:, -1] = 49407
    scale, text = model.logit_scale, Text(model)
    visual = model.visual
    text.parameters = lambda: (p for n, p in model.named_parameters() if not n.startswith("visual.") and n != "logit_scale")
    return step(visual, text, scale, images, tokens, compiled)


def augment_one(size):
    augmentation, photo = roclip_augmentation(size), decode().resize((size, size))
    return lambda: augmentation(photo)


def badnet():
    """CleanCLIP's patch (backdoor/utils.py): one image tensor at a time, noise of the image's own
    mean at a random place."""
    to_tensor, to_image, photo = T.ToTensor(), T.ToPILImage(), decode().resize((224, 224))

    def body():
        image = to_tensor(photo)
        noise = image.mean((1, 2), keepdim=True) + torch.randn(3, 16, 16)
        x, y = torch.randint(0, 223 - 16, (2,)).tolist()
        image[:, y : y + 16, x : x + 16] = noise
        to_image(image)

    return body


def look_up(size):
    pool, rows = F.normalize(torch.randn(size, 1024), dim=1), F.normalize(torch.randn(32, 1024), dim=1)
    return lambda: (rows @ F.normalize(pool, dim=1).t()).argmax(1)


def cases(compiled):
    """Name of the criterion bench, rows it works on, and its peers: a function each and the rows
    that one works on."""
    clip = T.Compose([T.Resize(224, T.InterpolationMode.BICUBIC), T.CenterCrop(224), T.ToTensor(), T.Normalize(MEAN, STD)])
    evaluation, training = image_transform(224, is_train=False), image_transform(224, is_train=True)
    roclip = T.Compose([roclip_augmentation(224), clip])
    loader = {
        "PIL, decode alone": (decode, 1),
        "open_clip, evaluation transform": (lambda: evaluation(decode()), 1),
        "open_clip, training transform": (lambda: training(decode()), 1),
        "RoCLIP's release": (lambda: roclip(decode()), 1),
    }
    steps = lambda make: {"PyTorch eager": (make(False), None)} | ({"torch.compile": (make(True), None)} if compiled else {})
    yield "loader/decode to a canvas of 224", 1, lambda: loader
    yield "augment/128 of 32", 128, lambda: {"RoCLIP's release, PIL": (augment_one(32), 1)}
    yield "augment/16 of 224", 16, lambda: {"RoCLIP's release, PIL": (augment_one(224), 1)}
    yield "trigger/badnet on 64 of 224", 64, lambda: {"CleanCLIP": (badnet(), 1)}
    yield "pool/look-up of 32 in 20000", None, lambda: {"PyTorch": (look_up(20_000), None)}
    yield "pool/look-up of 32 in 200000", None, lambda: {"PyTorch": (look_up(200_000), None)}
    yield "step/tiny, batch 128", None, lambda: steps(tiny_step)
    yield "step/RN50, batch 8", None, lambda: steps(rn50_step)


def gauntlet(name):
    """Seconds of one iteration: criterion's median."""
    done = subprocess.run(["cargo", "bench", "--bench", "main", "--", name], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = ROOT / "target/criterion" / name / "new/estimates.json"
    return json.loads(found.read_text())["median"]["point_estimate"] / 1e9


def peer(body):
    """The median of at least five calls and one second."""
    body()
    times = []
    while len(times) < 5 or sum(times) < 1:
        start = time.process_time()
        body()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--peers-only", action="store_true", help="without gauntlet: nothing is built")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well: it compiles for minutes")
    given = parser.parse_args()
    print("| bench | gauntlet | peer | its time | peer / gauntlet |\n|---|---|---|---|---|")
    for name, rows, make in cases(given.compile):
        if given.only not in name:
            continue
        peers, ours, theirs = make(), [], {}
        for _ in range(given.rounds):
            ours.append(math.nan if given.peers_only else gauntlet(name) / (rows or 1))
            for title, (body, own) in peers.items():
                theirs.setdefault(title, []).append(peer(body) / (own or 1))
        unit = "ms a row" if rows else "ms"
        for title, times in theirs.items():
            ratio = statistics.median(their / our for their, our in zip(times, ours))
            print(f"| {name} | {statistics.median(ours) * 1e3:.3f} {unit} | {title} | {statistics.median(times) * 1e3:.3f} {unit} | {ratio:.2f} |", flush=True)
    print(f"\nload {Path('/proc/loadavg').read_text().split()[0]}")


if __name__ == "__main__":
    main()
