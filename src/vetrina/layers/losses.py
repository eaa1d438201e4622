"""What networks make small. docs/explanation/learning.md works each formula out by hand, and a test holds it to the page."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
ADVERSARIAL_STEP = 0.1  # of the adversarial loss, in standard deviations of a number


def cross_entropy(probability_B: Tensor, label_B: Tensor) -> Tensor:
    """Mean of -(y ln p + (1 - y) ln(1 - p)) over rows."""
    return F.binary_cross_entropy(probability_B, label_B)


def mse(predicted_B: Tensor, label_B: Tensor) -> Tensor:
    """Mean of (y - p)^2 over rows; of probabilities this is the Brier score (1950)."""
    return F.mse_loss(predicted_B, label_B)


def listwise(logits_QT: Tensor, shares_QT: Tensor) -> Tensor:
    """Mean over queries of -sum over texts of share ln softmax(logit) (ListNet, Cao et al. 2007); shares sum to 1."""
    return -(shares_QT * F.log_softmax(logits_QT, dim=1)).sum(1).mean()


def listwise_kl(student_QT: Tensor, teacher_QT: Tensor) -> Tensor:
    """Mean over queries of KL(softmax(told) || softmax(said)): how far a student's order of the texts is from its teacher's.

    Hinton et al. 2015, "Distilling the knowledge in a neural network"; logits are already over their temperature.
    """
    told = F.log_softmax(teacher_QT, dim=1)
    return F.kl_div(F.log_softmax(student_QT, dim=1), told, reduction="batchmean", log_target=True)


def adversarial(model: Callable[[Tensor], Tensor], x_BC: Tensor, label_B: Tensor, loss: Loss, step: float) -> Tensor:
    """Mean of the loss at x and at x + step * sign(d loss / d x), the worst nearby row (FGSM, Goodfellow et al. 2015)."""
    asked_BC = x_BC.detach().requires_grad_(True)
    plain = loss(model(asked_BC).squeeze(1), label_B)
    (gradient_BC,) = torch.autograd.grad(plain, asked_BC, retain_graph=True)
    worst_BC = (x_BC + step * gradient_BC.sign()).detach()
    return (plain + loss(model(worst_BC).squeeze(1), label_B)) / 2


def loss_by_name(
    name: str, model: Callable[[Tensor], Tensor], x_BC: Tensor, label_B: Tensor, base_loss: Loss = cross_entropy
) -> Tensor:
    """The loss ``name`` (of ``core.settings.LOSSES``) of a model that says (rows, 1); ``plain`` is what suits the label."""
    if name == "adversarial":
        return adversarial(model, x_BC, label_B, base_loss, ADVERSARIAL_STEP)
    return (mse if name == "mse" else base_loss)(model(x_BC).squeeze(1), label_B)
