"""Image embedding beside training: the same pixels, and float vectors as training writes them."""

import io

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from vetrina.models.image import category_training, decode, network, network_quantisation, preprocessing, train
from vetrina.models.image.embed import Embedder

SIZE = 48


def images(count: int) -> list[bytes]:
    """Larger than the network sees them, and not square."""
    rng = np.random.default_rng(5)
    bodies: list[bytes] = []
    for _ in range(count):
        blocks = rng.integers(0, 256, (6, 8, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(blocks).resize((120, 90), Image.Resampling.BILINEAR).save(out, "PNG")
        bodies.append(out.getvalue())
    return bodies


def test_images_are_normalised_as_in_training():
    pixels = np.stack(list(decode.decode_images(images(3), SIZE)))
    normalised = decode.normalised(pixels)
    assert normalised.shape == (3, 3, SIZE, SIZE)
    np.testing.assert_allclose(normalised, preprocessing.normalise(pixels).numpy(), atol=1e-5)
    np.testing.assert_allclose(normalised[1, 2, 5, 7], (float(pixels[1, 5, 7, 2]) - 127) / 128, atol=1e-5)


def test_a_float_network_gives_the_vectors_that_training_writes(tmp_path):
    torch.manual_seed(1)
    pixels = np.stack(list(decode.decode_images(images(20), SIZE)))
    backbone = network.small_cnn()
    extracted = category_training.extract_features(backbone, pixels)
    whole = network.ImageNetwork(backbone, nn.Linear(backbone.width, 2), train.pca_projection(extracted)).eval()
    network_quantisation.export_network(whole, SIZE, tmp_path / "network.onnx")
    with torch.no_grad():
        trained = functional.normalize(whole.projection(torch.from_numpy(extracted)), dim=1).numpy()
    embedder = Embedder(tmp_path / "network.onnx")
    assert embedder.size == SIZE
    vectors = embedder.vectors(list(pixels))
    assert (vectors * trained).sum(1).mean() >= 0.999
    alone = embedder.vectors([pixels[7]])
    np.testing.assert_allclose(alone[0], vectors[7], atol=1e-4)
