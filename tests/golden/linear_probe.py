"""Makes linear_probe.safetensors: logistic regression by scikit-learn, and the linear probe of
RoCLIP's released code by PyTorch.

    pip install torch safetensors scikit-learn
    python linear_probe.py

Read by the tests in evaluators/src/logistic.rs and linear_probe/official.rs. Features have the
steep spectrum, the correlations and the large mean of a network's. Keys: `fit`, `fit_labels`,
`test`, `test_labels`; `objectives`, at the regularisations of `CS`, and `classes/NUMBER`, the
test's classes there; `official/start/...` and `official/end/...`, the layer before and after,
`official/order`, the rows of each epoch in training order.
"""

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

ROWS, TEST, COLUMNS, CLASSES = 600, 400, 32, 12
CS = [1e-3, 0.1, 10.0, 1e3]
BATCH, EPOCHS = 64, 32


def features(count, means, basis, spectrum, offset):
    labels = torch.randint(CLASSES, (count,))
    return ((means[labels] + torch.randn(count, COLUMNS) * spectrum) @ basis + offset).contiguous(), labels


def official(x, y):
    """A linear layer, AdamW at 0.005 along a cosine without warm-up, weight decay 0.01 except on
    the bias, 32 epochs, short batches kept."""
    layer = torch.nn.Linear(COLUMNS, CLASSES)
    out = {f"official/start/{name}": p.detach().clone() for name, p in layer.named_parameters()}
    groups = [{"params": [layer.bias], "weight_decay": 0.0}, {"params": [layer.weight], "weight_decay": 0.01}]
    optimizer = torch.optim.AdamW(groups, lr=0.005)
    orders, step, steps = [], 0, EPOCHS * math.ceil(ROWS / BATCH)
    for _ in range(EPOCHS):
        order = torch.randperm(ROWS)
        orders.append(order)
        for rows in order.split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = 0.005 * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
    out |= {f"official/end/{name}": p.detach().clone() for name, p in layer.named_parameters()}
    return out | {"official/order": torch.stack(orders)}


def main():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(COLUMNS, COLUMNS))[0]
    spectrum = torch.logspace(0, -2, COLUMNS)
    means, offset = torch.randn(CLASSES, COLUMNS) * spectrum * 0.7, torch.randn(COLUMNS) * 0.5
    world = means, basis, spectrum, offset
    (x, y), (test, test_labels) = features(ROWS, *world), features(TEST, *world)
    tensors = {"fit": x, "fit_labels": y, "test": test, "test_labels": test_labels}
    objectives = []
    for number, c in enumerate(CS):
        model = LogisticRegression(C=c, max_iter=100_000, tol=1e-10).fit(x.double().numpy(), y.numpy())
        loss = -model.predict_log_proba(x.double().numpy())[np.arange(ROWS), y.numpy()].sum()
        objectives.append(c * loss + (model.coef_**2).sum() / 2)
        tensors[f"classes/{number}"] = torch.from_numpy(model.predict(test.double().numpy()))
    tensors["objectives"] = torch.tensor(objectives, dtype=torch.float32)
    save_file(tensors | official(x, y), Path(__file__).with_name("linear_probe.safetensors"))


if __name__ == "__main__":
    main()
