"""Loss functions.

docs/explanation/learning.md works each formula out by hand, and a test compares both.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
ADVERSARIAL_STEP = 0.1  # of the adversarial loss, in standard deviations of an input


def cross_entropy(probability_B: Tensor, label_B: Tensor) -> Tensor:
    """Return the mean of -(y ln p + (1 - y) ln(1 - p)) over rows."""
    return F.binary_cross_entropy(probability_B, label_B)


def mse(predicted_B: Tensor, label_B: Tensor) -> Tensor:
    """Return the mean of (y - p)^2 over rows; for probabilities this is the Brier score (1950)."""
    return F.mse_loss(predicted_B, label_B)


def listwise(logits_QT: Tensor, shares_QT: Tensor) -> Tensor:
    """Return the mean over queries of -sum over texts of share ln softmax(logit) (ListNet, Cao et al. 2007).

    Args:
        logits_QT: (queries, texts) logits.
        shares_QT: (queries, texts) target distribution of each query; sums to 1.
    """
    log_softmax_QT = F.log_softmax(logits_QT, dim=1)
    return -(shares_QT * log_softmax_QT).sum(1).mean()


def listwise_kl(student_QT: Tensor, teacher_QT: Tensor) -> Tensor:
    """Return the mean over queries of KL(softmax(teacher) || softmax(student)).

    Hinton et al. 2015, "Distilling the knowledge in a neural network".

    Args:
        student_QT: (queries, texts) logits of the student, divided by their temperature.
        teacher_QT: (queries, texts) logits of the teacher, divided by their temperature.
    """
    log_student_QT = F.log_softmax(student_QT, dim=1)
    log_teacher_QT = F.log_softmax(teacher_QT, dim=1)
    return F.kl_div(log_student_QT, log_teacher_QT, reduction="batchmean", log_target=True)


def adversarial(model: Callable[[Tensor], Tensor], x_BC: Tensor, label_B: Tensor, loss: Loss, step: float) -> Tensor:
    """Return the mean of the loss at x and at x + step * sign(d loss / d x), the worst nearby row.

    FGSM, Goodfellow et al. 2015.

    Args:
        model: Network from inputs to predictions (rows, 1).
        x_BC: (rows, columns) inputs.
        label_B: (rows,) labels.
        loss: Loss of predictions and labels.
        step: Size of the step in each input.
    """
    inputs_BC = x_BC.detach().requires_grad_(True)
    clean_loss = loss(model(inputs_BC).squeeze(1), label_B)
    (gradient_BC,) = torch.autograd.grad(clean_loss, inputs_BC, retain_graph=True)
    worst_BC = (x_BC + step * gradient_BC.sign()).detach()
    worst_loss = loss(model(worst_BC).squeeze(1), label_B)
    return (clean_loss + worst_loss) / 2


def loss_by_name(
    name: str,
    model: Callable[[Tensor], Tensor],
    x_BC: Tensor,
    label_B: Tensor,
    base_loss: Loss = cross_entropy,
) -> Tensor:
    """Return the loss ``name`` of a model at some rows.

    Args:
        name: One of ``core.settings.LOSSES``; ``plain`` is ``base_loss``.
        model: Network from inputs to predictions (rows, 1).
        x_BC: (rows, columns) inputs.
        label_B: (rows,) labels.
        base_loss: The loss that suits the label.
    """
    if name == "adversarial":
        return adversarial(model, x_BC, label_B, base_loss, ADVERSARIAL_STEP)
    loss = base_loss
    if name == "mse":
        loss = mse
    return loss(model(x_BC).squeeze(1), label_B)
