"""The training losses: of standardised months, of sex, and of two views of one image."""

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from h2a_lib.models.dataset import Batch
from h2a_lib.models.inference import Scales

# Of age: a band that holds 90 % of hands, around the median.
QUANTILES = {"age_low": 0.05, "age": 0.5, "age_high": 0.95}
# Weights of VICReg's three terms (Bardes et al. 2022, ICLR, section 4.2).
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0


def compute_loss(outputs: dict[str, Tensor], batch: Batch, scales: Scales, age_loss: str) -> Tensor:
    """Return the sum of the losses of a network's outputs, a scalar."""
    loss = torch.zeros((), device=batch.pixels.device)
    if "age" in outputs:
        target = (batch.age_months - scales.age_mean_months) / scales.age_sd_months
        loss = loss + _age_loss(outputs, target, age_loss)
    if "sex" in outputs:
        loss = loss + F.binary_cross_entropy_with_logits(outputs["sex"].float(), batch.male)
    if "embedding" in outputs:
        loss = loss + vicreg(*outputs["embedding"].float().chunk(2))
    return loss


def _age_loss(outputs: dict[str, Tensor], target: Tensor, kind: str) -> Tensor:
    if kind == "quantile":
        return torch.stack(
            [pinball(outputs[name].float(), target, q) for name, q in QUANTILES.items()]
        ).mean()
    of_age = F.l1_loss if kind == "l1" else F.smooth_l1_loss
    return of_age(outputs["age"].float(), target)


def pinball(estimate: Tensor, target: Tensor, quantile: float) -> Tensor:
    """Return the mean pinball loss, which is least at a quantile (Koenker and Bassett 1978)."""
    difference = target - estimate
    return torch.maximum(quantile * difference, (quantile - 1) * difference).mean()


def vicreg(first: Tensor, second: Tensor) -> Tensor:
    """Return the loss of two views' embeddings, (n, d) (Bardes et al. 2022, ICLR, equation 6).

    Views of an image are to be embedded alike; each feature varies over images, and differs from
    the others.
    """
    loss = INVARIANCE * F.mse_loss(first, second)
    for embedding in (first, second):
        centred = embedding - embedding.mean(dim=0)
        n, d = centred.shape
        covariance = centred.T @ centred / max(n - 1, 1)
        sd = (covariance.diagonal() + 1e-4).sqrt()
        loss = loss + VARIANCE / 2 * F.relu(1 - sd).mean()
        of_others = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + COVARIANCE * of_others / d
    return loss
