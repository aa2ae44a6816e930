"""Makes roclip.safetensors: RoCLIP's pool over some steps, as algorithm 1 of the paper has it, one caption after the other.

    pip install torch safetensors
    python roclip.py

Read by the test in defenses/src/roclip.rs. Keys: `start` (the pool at first), `image`, `text` and `keys` (inputs, `[step, batch, ..]`), and for
each case, `ORDER-SIZE` (look-up before or after the push; captions in the pool), by step: `found` (keys of the matched captions), `loss`,
`gradient` (of the pictures' embeddings), `scale_gradient`, and `pool` and `pool_keys`, oldest first.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

STEPS, BATCH, DIMENSIONS = 5, 4, 8
SCALE = 10.0


class Pool:
    def __init__(self, embeddings, keys):
        self.embeddings, self.keys, self.pointer = embeddings.clone(), keys.clone(), 0

    def push(self, embeddings, keys):
        for embedding, key in zip(embeddings, keys):
            self.embeddings[self.pointer], self.keys[self.pointer] = embedding, key
            self.pointer = (self.pointer + 1) % len(self.keys)

    def nearest(self, image):
        return F.cosine_similarity(image.detach()[:, None], self.embeddings[None], dim=2).argmax(1)

    def oldest_first(self):
        return self.embeddings.roll(-self.pointer, 0), self.keys.roll(-self.pointer, 0)


def run(order, size, start, images, texts, all_keys):
    pool, steps = Pool(start[:size], -1 - torch.arange(size)), []
    for image, text, keys in zip(images, texts, all_keys):
        image, scale = image.clone().requires_grad_(), torch.tensor(SCALE, requires_grad=True)
        if order == "after":
            pool.push(text, keys)
        found = pool.nearest(image)
        matched, found_keys = pool.embeddings[found].clone(), pool.keys[found].clone()
        if order == "before":
            pool.push(text, keys)
        logits, own = scale * image @ matched.T, torch.arange(BATCH)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        loss.backward()
        embeddings, pool_keys = pool.oldest_first()
        step = dict(found=found_keys, loss=loss.detach(), gradient=image.grad, scale_gradient=scale.grad)
        steps.append(step | dict(pool=embeddings.clone(), pool_keys=pool_keys.clone()))
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


def main():
    torch.manual_seed(0)
    unit = lambda *shape: F.normalize(torch.randn(*shape, DIMENSIONS), dim=-1)
    start, images, texts = unit(7), unit(STEPS, BATCH), unit(STEPS, BATCH)
    keys = torch.randperm(STEPS * BATCH).view(STEPS, BATCH)
    out = dict(start=start, image=images, text=texts, keys=keys)
    for order in ["before", "after"]:
        for size in [7, 3]:
            case = run(order, size, start, images, texts, keys)
            out |= {f"{order}-{size}/{name}": tensor for name, tensor in case.items()}
    save_file(out, Path(__file__).with_name("roclip.safetensors"))


if __name__ == "__main__":
    main()
