"""Makes roclip.safetensors: RoCLIP's pool over some steps, by algorithm 1 of the paper, one caption
after the other, and by the released code.

    pip install torch safetensors
    python roclip.py

Read by the tests in defenses/src/roclip.rs, defenses/src/roclip/quirks.rs and
core/src/defense/half.rs. Keys: `start` (the pool at first), `image`, `text` and `keys` (inputs,
`[step, batch, ..]`), and for each case, `ORDER-SIZE` (look-up before or after the push; captions in
the pool), by step: `found` (keys of the matched captions), `loss`, `gradient` (of the image
embeddings), `scale_gradient`, and `pool` and `pool_keys`, oldest first. The cases `released-SIZE`
start from `noise` that is not normalised, and their pools are in memory order, with `next` the
place of the next caption. `half/...`: a loss whose product is in f16 as under CUDA's autocast
(`image`, `text`, `scale`; `loss` and gradients), and a look-up in f16 (`rows`, `pool`; `found`, and
`found_in_f32`).
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


class ReleasedPool:
    """Behaviour of lightly 1.2.39: a batch that reaches the end is cut there, and the rest is
    lost."""

    def __init__(self, noise, keys):
        self.embeddings, self.keys, self.pointer = noise.clone(), keys.clone(), 0

    def push(self, embeddings, keys):
        end = min(self.pointer + len(keys), len(self.keys))
        self.embeddings[self.pointer : end] = embeddings[: end - self.pointer]
        self.keys[self.pointer : end] = keys[: end - self.pointer]
        self.pointer = end % len(self.keys)

    def nearest(self, image):
        return F.cosine_similarity(image.detach()[:, None], self.embeddings[None], dim=2).argmax(1)


def run_released(size, noise, images, texts, all_keys):
    """A matching epoch: look up, push, and a loss in which the batch's own captions have weight
    0."""
    pool, steps = ReleasedPool(noise[:size], -torch.ones(size, dtype=torch.int64)), []
    for image, text, keys in zip(images, texts, all_keys):
        image, scale = image.clone().requires_grad_(), torch.tensor(SCALE, requires_grad=True)
        text = text.clone().requires_grad_()
        found = pool.nearest(image)
        matched, found_keys = pool.embeddings[found].clone(), pool.keys[found].clone()
        pool.push(text.detach(), keys)
        logits, own = scale * matched @ image.T, torch.arange(BATCH)
        loss = (F.cross_entropy(logits.T, own) + F.cross_entropy(logits, own)) / 2
        loss = loss + 0 * F.cross_entropy(scale * image @ text.T, own)
        loss.backward()
        assert not text.grad.any(), "the text tower gets exactly nothing"
        step = dict(found=found_keys, loss=loss.detach(), gradient=image.grad, scale_gradient=scale.grad)
        pool_now = dict(pool=pool.embeddings.clone(), pool_keys=pool.keys.clone(), next=torch.tensor(pool.pointer))
        steps.append(step | pool_now)
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


def half(batch, dimensions, entries):
    """CUDA's autocast of the loss: f16 operands and product, f32 cross-entropy; backward under a
    gradient scaler's 2^16 or so."""
    image = F.normalize(torch.randn(batch, dimensions), dim=-1)
    text = F.normalize(image + torch.randn(batch, dimensions) / dimensions**0.5, dim=-1)
    inputs = [tensor.requires_grad_() for tensor in (image, text, torch.tensor(1 / 0.07))]
    image, text, scale = inputs
    logits, own, loss_scale = (scale * image).half() @ text.half().T, torch.arange(batch), 128 * batch
    loss = (F.cross_entropy(logits.float(), own) + F.cross_entropy(logits.T.float(), own)) / 2
    (loss * loss_scale).backward()
    out = dict(image=image, text=text, scale=scale, loss=loss)
    out |= {f"{name}_gradient": out[name].grad / loss_scale for name in ["image", "text", "scale"]}

    # Neighbours so similar that rounding changes which is first.
    rows = F.normalize(torch.randn(64, dimensions), dim=-1)
    pool = F.normalize(rows.repeat(entries // 64, 1) + torch.randn(entries, dimensions) * 0.002, dim=-1) * 3
    unit = F.normalize(pool, dim=-1)
    found = (rows.half() @ unit.half().T).argmax(1)
    out |= dict(rows=rows, pool=pool, found=found, found_in_f32=(rows @ unit.T).argmax(1))
    return {f"half/{name}": tensor.detach().clone() for name, tensor in out.items()}


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
    out["noise"] = torch.randn(7, DIMENSIONS)
    for size in [7, 3]:
        case = run_released(size, out["noise"], images, texts, keys)
        out |= {f"released-{size}/{name}": tensor for name, tensor in case.items()}
    out |= half(batch=16, dimensions=64, entries=256)
    save_file(out, Path(__file__).with_name("roclip.safetensors"))


if __name__ == "__main__":
    main()
