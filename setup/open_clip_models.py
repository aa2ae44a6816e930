"""Makes core/src/model/open_clip.json: the models of open_clip that gauntlet builds, and the reason
for each that it does not.

    pip install open_clip_torch==3.3.0
    python setup/open_clip_models.py [FILE]
"""

import json
import re
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

OUT = Path(__file__).parent.parent / "core/src/model/open_clip.json"
# Keys that gauntlet reads. Every other key must have the value that disables it (`not_built` in
# core/src/model/config.rs).
READ = {
    "": {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"},
    "vision_cfg": {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}
REASONS = [
    ("multimodal_cfg", "it is a CoCa, with a decoder"),
    ("vision_cfg.timm_model_name", "its image tower is timm's"),
    ("text_cfg.hf_model_name", "its text tower is one of Hugging Face's"),
    ("text_cfg.hf_tokenizer_name", "its tokenizer is not CLIP's"),
]


def why_not(config):
    """The parts that gauntlet does not build; none for most models."""
    sections = {"": config, "vision_cfg": config["vision_cfg"], "text_cfg": config["text_cfg"]}
    others = [(f"{name}.{key}".strip("."), value) for name, keys in sections.items() for key, value in keys.items() if key not in READ[name]]
    others = [key for key, value in others if value not in (None, False, 0.0, "tok", "argmax")]
    return next((reason for key, reason in REASONS if key in others), f"it has `{others[0]}`" if others else None)


def main():
    folder = Path(find_spec("open_clip").origin).parent / "model_configs"
    natural = lambda file: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.stem.lower())]
    configs = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"), key=natural)}
    reasons = {name: why_not(config) for name, config in configs.items()}
    line = lambda name, value: f"    {json.dumps(name)}: {json.dumps(value)}"
    built = ",\n".join(line(name, config) for name, config in configs.items() if not reasons[name])
    others = ",\n".join(line(name, reason) for name, reason in reasons.items() if reason)
    source = json.dumps(f"open_clip {version('open_clip_torch')}")
    text = f'{{\n  "source": {source},\n  "built": {{\n{built}\n  }},\n  "not_built": {{\n{others}\n  }}\n}}\n'
    Path(sys.argv[1] if len(sys.argv) > 1 else OUT).write_text(text)


if __name__ == "__main__":
    main()
