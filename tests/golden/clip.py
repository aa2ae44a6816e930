"""Makes clip.safetensors and clip-vit.safetensors: open_clip's CLIP with a modified ResNet and with
a vision transformer, tiny, with random weights: outputs and training.

    pip install open_clip_torch torchvision safetensors
    python clip.py [clip | clip-vit]

Read by the tests in core/src/model.rs. Keys: `weights/NAME` at the start; `gelu/...` and
`quick/...` for the two activations, with `eval` and `train` embeddings, the loss, `gradient/NAME`,
and `running/NAME` after one training forward pass; `trained/NAME` after three steps of AdamW
(GELU); `init/NAME`: mean, standard deviation and mean size of the weights of a fresh, wider model.
"""

import math
import sys
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

def config(embed_dim, text, **vision):
    return dict(embed_dim=embed_dim, vision_cfg=vision, text_cfg=dict(width=embed_dim, heads=2, layers=2) | text)


SHORT, LONG = dict(context_length=12, vocab_size=100), dict(context_length=32, vocab_size=512)
RESNET = dict(image_size=64, layers=[1, 2, 1, 1], patch_size=None)
# 34 pixels hold four patches and two pixels that open_clip ignores.
VIT = dict(image_size=34, layers=2, patch_size=8, mlp_ratio=3.0)
# For each file: the model that computes, and the wider one whose start is described.
KINDS = {
    "clip": (config(16, SHORT, **RESNET, width=2, head_width=32), config(64, LONG, **RESNET, width=16, head_width=64)),
    "clip-vit": (
        config(16, SHORT | dict(mlp_ratio=2.0), **VIT, width=24, head_width=8),
        config(64, LONG | dict(mlp_ratio=2.0), **VIT, width=96, head_width=32),
    ),
}


def build(config, quick_gelu):
    return open_clip.CLIP(quick_gelu=quick_gelu, **config)


def randomise(model):
    """No weight may be left at a constant that hides a mistake (open_clip starts bn3's scale at
    0)."""
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1 and name != "logit_scale":
            is_scale = name.endswith("weight")
            parameter.data = torch.randn_like(parameter) * 0.2 + (1.0 if is_scale else 0.0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn_like(buffer) * 0.3)
        if name.endswith("running_var"):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    model.positional_embedding.data *= 20  # otherwise the order of tokens hardly matters
    model.token_embedding.weight.data *= 20


def forward(model, images, tokens):
    return model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)


def loss_of(model, images, tokens):
    image, text = forward(model, images, tokens)
    return open_clip.ClipLoss()(image, text, model.logit_scale.exp())


def computed(config, weights, quick_gelu, images, tokens):
    model = build(config, quick_gelu)
    model.load_state_dict(weights)
    out = {}
    model.eval()
    with torch.no_grad():
        out["eval/image"], out["eval/text"] = forward(model, images, tokens)
    model.train()
    image, text = forward(model, images, tokens)
    loss = open_clip.ClipLoss()(image, text, model.logit_scale.exp())
    loss.backward()
    out |= {"train/image": image.detach(), "train/text": text.detach(), "loss": loss.detach()}
    out |= {f"gradient/{name}": parameter.grad for name, parameter in model.named_parameters()}
    out |= {f"running/{name}": buffer for name, buffer in model.named_buffers() if "running" in name}
    return out


def adamw(model):
    """AdamW with the parameter groups of open_clip_train/main.py."""
    exclude = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if exclude(n, p)], "weight_decay": 0.0},
        {"params": [p for n, p in named if not exclude(n, p)], "weight_decay": 0.1},
    ]
    # Epsilon is above the rounding in the gradient of the keys' biases, which is 0.
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), eps=1e-5)


def trained(config, weights, images, tokens):
    """open_clip's training step."""
    model = build(config, False)
    model.load_state_dict(weights)
    model.train()
    optimizer = adamw(model)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, images, tokens).backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    return model.state_dict()


def spread(tensor):
    tensor = tensor.detach().double()
    return torch.stack([tensor.mean(), tensor.std(unbiased=False), tensor.abs().mean()])


def kept(kind, quick_gelu, key):
    """Keeps gradients twice only where they pass the activation. The ResNet's images do not pass
    it."""
    if not quick_gelu:
        return True
    return not ("visual." in key or "image" in key) if kind == "clip" else "gradient/" not in key or "c_fc" in key


def make(kind):
    torch.manual_seed(0)
    config, wide = KINDS[kind]
    model = build(config, False)
    randomise(model)
    # Halves, so that the file is small; kept as the floats they stand for.
    weights = {n: t.half().float() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    side = config["vision_cfg"]["image_size"]
    images = torch.randint(0, 256, (6, 3, side, side), dtype=torch.uint8)
    tokens = torch.zeros(6, 12, dtype=torch.int64)
    for row, length in enumerate([12, 5, 9, 3, 7, 12]):
        tokens[row, 0] = 98
        tokens[row, 1 : length - 1] = torch.randint(1, 98, (length - 2,))
        tokens[row, length - 1] = 99
    pixels = images.float() / 64 - 2
    out = {f"weights/{n}": t for n, t in weights.items()} | {"images": images, "tokens": tokens}
    for quick_gelu, name in [(False, "gelu"), (True, "quick")]:
        for key, tensor in computed(config, weights, quick_gelu, pixels, tokens).items():
            if kept(kind, quick_gelu, key):
                out[f"{name}/{key}"] = tensor
    out |= {f"trained/{n}": t for n, t in trained(config, weights, pixels, tokens).items() if "num_batches" not in n}
    out |= {f"init/{n}": spread(t).float() for n, t in build(wide, False).named_parameters()}
    out = {
        n: (t.half() if n.startswith("weights/") and t.is_floating_point() else t).contiguous() for n, t in out.items()
    }
    save_file(out, Path(__file__).with_name(f"{kind}.safetensors"))


if __name__ == "__main__":
    for kind in sys.argv[1:] or KINDS:
        make(kind)
