"""Makes defenses.safetensors: losses and scores of defenses, by PyTorch and scikit-learn.

    pip install torch scikit-learn safetensors
    python defenses.py

Read by the tests of defenses/src. Inputs: `image`, `text` and their second views, unit rows `[16,
8]`, `scale`; pools of safeclip `[24, 8]`, whose oldest entry is 15, so that the first step wraps;
`features` `[120, 8]` of which some are equal; `values` of a mixture; `logits` `[3 x 4, 10]` of
strip. Outputs: `cleanclip`, `safeclip` (losses of two steps) and `safeclip_pool` (of images, after
them), `slof`, `dao` (k = 16), `mixture` (chance of the component with the greater mean), `strip`
(mean entropy).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.mixture import GaussianMixture

torch.manual_seed(0)
golden = {}


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


image, text, scale = unit(16, 8), unit(16, 8), torch.tensor(12.5)
image_2, text_2 = F.normalize(image + 0.3 * torch.randn(16, 8), dim=-1), F.normalize(text + 0.3 * torch.randn(16, 8), dim=-1)
own = torch.arange(16)


def cross_entropy(a, b):
    return F.cross_entropy(scale * a @ b.t(), own)


# CleanCLIP: both directions across, one within each modality, halved.
across = (cross_entropy(image, text) + cross_entropy(text, image)) / 2
golden["cleanclip"] = across + (cross_entropy(image, image_2) + cross_entropy(text, text_2)) / 2

# SafeCLIP's unimodal loss: the pool's neighbour of the first view against the second view; then the
# pool takes the first views in.
pools = {"image": unit(24, 8), "text": unit(24, 8)}
golden.update({f"{name}_pool": pool.clone() for name, pool in pools.items()})
oldest, losses = 15, []
for step in range(2):
    loss = 0
    for name, first, second in (("image", image, image_2), ("text", text, text_2)):
        found = torch.stack([max(pools[name], key=lambda entry: float(F.cosine_similarity(row, entry, dim=0))) for row in first])
        loss = loss + cross_entropy(found, second) / 2
        for place, row in enumerate(first):
            pools[name][(oldest + place) % 24] = row
    oldest = (oldest + 16) % 24
    losses.append(loss)
golden["safeclip"], golden["safeclip_pool"] = torch.stack(losses), pools["image"]

# Outliers: clusters of different density, lone points, and equal rows (like copies of a poisoned
# image).
features = torch.cat([unit(40, 8), F.normalize(unit(1, 8) + 0.05 * torch.randn(50, 8), dim=-1), unit(1, 8).repeat(30, 1)])
k, n = 16, len(features)
distances = torch.zeros(n, n)
for i in range(n):
    for j in range(n):
        distances[i, j] = torch.linalg.vector_norm(features[i] - features[j])
distances.fill_diagonal_(float("inf"))
nearest, who = distances.sort(dim=1, stable=True)
nearest, who = nearest[:, :k], who[:, :k]
last = nearest[:, -1]
lid = torch.tensor([-k / float(sum(torch.log(d / last[i] + 1e-4) for d in nearest[i])) for i in range(n)])
slof = torch.stack([torch.stack([last[i] / last[j] for j in who[i]]).mean() for i in range(n)])
dao = torch.stack([torch.stack([lid[j] * torch.log(last[i] / last[j]) for j in who[i]]).mean() for i in range(n)])
golden["slof"], golden["dao"] = (torch.nan_to_num(scores, nan=1000.0, posinf=1000.0, neginf=0.0) for scores in (slof, dao))

# Mixture: two normal distributions that overlap; scikit-learn started from the halves of the sorted
# values.
values = torch.cat([0.15 + 0.08 * torch.randn(300), 0.55 + 0.12 * torch.randn(500)])
line = values.double().sort().values
halves = line[:400], line[400:]
start = dict(
    weights_init=[0.5, 0.5],
    means_init=[[float(half.mean())] for half in halves],
    precisions_init=[[[1 / (float(half.var(unbiased=False)) + 1e-6)]] for half in halves],
)
fitted = GaussianMixture(2, tol=1e-12, max_iter=10_000, reg_covar=1e-6, **start).fit(values.double().numpy()[:, None])
upper = int(np.argmax(fitted.means_[:, 0]))
golden["mixture"] = torch.from_numpy(fitted.predict_proba(values.double().numpy()[:, None])[:, upper]).float()

# STRIP: mean entropy over four overlays of each of three images.
logits = 3 * torch.randn(12, 10)
golden["strip"] = torch.distributions.Categorical(logits=logits).entropy().view(3, 4).mean(1)

golden.update(image=image, text=text, image_2=image_2, text_2=text_2, scale=scale, features=features, values=values, logits=logits)
save_file({name: tensor.contiguous() for name, tensor in golden.items()}, Path(__file__).with_name("defenses.safetensors"))
