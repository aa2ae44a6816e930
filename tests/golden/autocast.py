"""Makes autocast.safetensors: outputs and training of a tiny CLIP under PyTorch's autocast to
bfloat16, on the CPU.

    pip install open_clip_torch torchvision safetensors
    python autocast.py

Read by core/src/golden.rs. Keys: `weights/NAME` at the start, `images` (each pixel stands for 4 x
4), `tokens`; under `bf16/` and, for comparison, under `fp32/`: embeddings `image` and `text`,
`losses` of four steps of AdamW, and the first step's `gradient/NAME` (bf16 only); the model's
configuration in the metadata. Only the towers run under autocast; embeddings are normalised and the
loss is computed in 32 bits.

`rounding/visual` and `rounding/text`: the distance of a tower's gradient under autocast from that
in 32 bits, as a share of its length. Batch norms amplify rounding: in the golden model of clip.py,
with its six images, it is 0.4 to 0.6. Here batch, weights and seed are chosen so that it is 0.1.
"""

import json
import math
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from clip import adamw, build
from safetensors.torch import save_file

CONFIG = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=64, layers=[1, 1, 1, 1], width=2, head_width=32),
    text_cfg=dict(context_length=12, vocab_size=100, width=16, heads=2, layers=2),
)
BATCH, SEED = 32, 1


def calm(model):
    """Every norm and bias is off its constant, and no branch outweighs its shortcut."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data = torch.randn_like(parameter) * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        if name.endswith("bn3.weight") and "layer" in name:
            parameter.data *= 0.3
    model.positional_embedding.data *= 20
    model.token_embedding.weight.data *= 20


def inputs():
    pixels = F.interpolate(torch.randn(BATCH, 3, 4, 4), size=16, mode="bilinear") + torch.randn(BATCH, 3, 16, 16) * 0.2
    tokens = torch.zeros(BATCH, 12, dtype=torch.int64)
    for row in range(BATCH):
        length = 3 + row % 10
        tokens[row, 0] = 98
        tokens[row, 1 : length - 1] = torch.randint(1, 98, (length - 2,))
        tokens[row, length - 1] = 99
    return (pixels * 40 + 128).clamp(0, 255).byte(), tokens


def forward(model, images, tokens, enabled):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        image, text = model.encode_image(images), model.encode_text(tokens)
    image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
    return image, text, open_clip.ClipLoss()(image, text, model.logit_scale.exp())


def trained(weights, images, tokens, enabled):
    model = build(CONFIG, False)
    model.load_state_dict(weights)
    model.train()
    optimizer, out, losses = adamw(model), {}, []
    for step in range(4):
        optimizer.zero_grad()
        image, text, loss = forward(model, images, tokens, enabled)
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            out |= {"image": image.detach(), "text": text.detach()}
            out |= {f"gradient/{name}": parameter.grad.clone() for name, parameter in model.named_parameters()}
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
    return out | {"losses": torch.stack(losses)}


def rounding(bf16, fp32, visual):
    names = [n for n in fp32 if n.startswith("gradient/") and n.startswith("gradient/visual.") == visual]
    flat = lambda gradients: torch.cat([gradients[name].flatten() for name in names])
    return (flat(bf16) - flat(fp32)).norm() / flat(fp32).norm()


def main():
    torch.manual_seed(SEED)
    model = build(CONFIG, False)
    calm(model)
    weights = {n: t.half().float() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    pixels, tokens = inputs()
    images = pixels.float().repeat_interleave(4, 2).repeat_interleave(4, 3) / 64 - 2
    bf16, fp32 = (trained(weights, images, tokens, enabled) for enabled in [True, False])
    out = {f"weights/{n}": t.half() if t.is_floating_point() else t for n, t in weights.items()}
    out |= {"images": pixels, "tokens": tokens}
    out |= {f"bf16/{name}": tensor for name, tensor in bf16.items()}
    out |= {f"fp32/{name}": tensor for name, tensor in fp32.items() if "gradient" not in name}
    out |= {f"rounding/{name}": rounding(bf16, fp32, name == "visual") for name in ["visual", "text"]}
    out = {name: tensor.contiguous() for name, tensor in out.items()}
    save_file(out, Path(__file__).with_name("autocast.safetensors"), metadata=dict(config=json.dumps(CONFIG)))
    distance = lambda name: (bf16[name] - fp32[name]).abs().max() / fp32[name].abs().max()
    print({name: float(distance(name)) for name in ["image", "text", "losses"]})
    print({name: float(tensor) for name, tensor in out.items() if name.startswith("rounding")})


if __name__ == "__main__":
    main()
