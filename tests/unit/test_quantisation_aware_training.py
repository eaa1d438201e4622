"""Networks that learn to live with rounded numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from vetrina.bundle.onnx_session import open_session
from vetrina.models.image import category_training, network, network_quantisation
from vetrina.models.image.preprocessing import normalise
from vetrina.nn.onnx_export import quantize_static
from vetrina.nn.quantisation_aware_training import FakeQuantisation


def test_a_rounded_network_computes_as_on_the_grid_and_keeps_its_weights_there():
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    x = torch.rand(5, 6) * 2 - 1
    plain = layer(x)
    rounded = FakeQuantisation(layer)
    steps = layer.weight.detach().abs().amax(1, keepdim=True) / 127
    whole = layer.weight / steps
    assert torch.allclose(whole, whole.round(), atol=1e-3)
    assert not torch.equal(layer(x), plain)
    assert torch.allclose(layer(x), plain, atol=0.05)
    layer(x).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    rounded.remove()
    weights_in_steps = layer.weight / steps
    assert torch.allclose(weights_in_steps, weights_in_steps.round(), atol=1e-3)
    assert type(layer) is nn.Linear


def drawings(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of three kinds, in noise of three colours."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    pixels = rng.integers(0, 160, (n, 32, 32, 3))
    pixels[np.arange(n), :, :, kind] += 40
    return pixels.astype(np.uint8), kind


@pytest.fixture(scope="module")
def taught() -> tuple[nn.Module, np.ndarray]:
    """A network in which one channel speaks a hundred times as loud as the others: one scale for all leaves these few levels."""
    pixels, kind = drawings(256, 0)
    torch.manual_seed(0)
    classifier = category_training.train_classifier(network.small_cnn(), pixels, kind, 3, 6, 0, lambda: None)
    norm = classifier.backbone.stem[1]
    after = classifier.backbone.blocks[0][0]
    with torch.no_grad():
        norm.weight[0] *= LOUD
        norm.bias[0] *= LOUD
        after.weight[:, 0] /= LOUD
    as_they_are = nn.Linear(128, 128)
    as_they_are.weight.data, as_they_are.bias.data = torch.eye(128), torch.zeros(128)
    return network.ImageNetwork(classifier.backbone, classifier.head, as_they_are).eval(), pixels


LOUD = 300.0


def test_what_rounding_breaks_learns_to_live_with_it(taught, tmp_path):
    whole, pixels = taught
    file = tmp_path / "network.onnx"
    plain = tmp_path / "plain.onnx"
    network_quantisation.export_network(whole, 32, file)
    new, _ = drawings(200, 1)
    before = open_session(file).run(None, {"picture": normalise(new).numpy()})[1].argmax(1)
    quantize_static(file, plain, [{"picture": normalise(pixels[s : s + 16]).numpy()} for s in range(0, 128, 16)])
    broken = open_session(plain).run(None, {"picture": normalise(new).numpy()})[1].argmax(1)
    notes = network_quantisation.quantise_network(whole, file, pixels, 0)
    after = open_session(file).run(None, {"picture": normalise(new).numpy()})[1].argmax(1)
    assert notes["form"] == "learnt with rounding + int8"
    assert (broken == before).mean() < 0.8
    assert (after == before).mean() > 0.9
