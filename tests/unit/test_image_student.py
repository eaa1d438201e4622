"""A smaller network of pictures: how it begins, what it learns, and when its file takes the place of the larger one."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from vetrina.bundle.onnx_session import open_session
from vetrina.models.image import category_training, image_student, network, network_quantisation, train
from vetrina.models.image.decode import decode_images
from vetrina.models.image.embed import Embedder
from vetrina.models.image.preprocessing import normalise

SIZE = 112
KINDS = 3


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stripes that lie, stand or cross, in some colours."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % KINDS
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for n in range(count):
        width = rng.integers(6, 12)
        at = rng.integers(0, 12)
        lying, standing = (((line + at) // width) % 2 == 0 for line in (down, across))
        pattern = (lying, standing, lying ^ standing)[kind[n]]
        images[n] = np.where(pattern[..., None], rng.integers(0, 90, 3), rng.integers(150, 256, 3))
    return images, kind


@pytest.fixture(scope="module")
def teacher() -> tuple[network.ImageNetwork, np.ndarray]:
    """Three layers that end as EfficientNet-Lite0 does, learnt from nothing."""
    torch.manual_seed(3)
    stem = nn.Sequential(nn.Conv2d(3, 16, 7, 4, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    blocks = nn.Sequential(nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()))
    end = nn.Sequential(
        network.Conv2dSame(32, network.FEATURE_DIM, 1, bias=False), nn.BatchNorm2d(network.FEATURE_DIM), nn.ReLU6()
    )
    images, kind = pictures(120, 1)
    taught = category_training.train_classifier(
        network.Backbone(stem, blocks, end, network.FEATURE_DIM), images, kind, KINDS, 8, 1, lambda: None
    )
    features = category_training.extract_features(taught.backbone, images)
    return network.ImageNetwork(taught.backbone, taught.head, train.pca_projection(features)).eval(), features


def test_it_begins_as_its_teacher_with_fewer_features(teacher):
    whole, features = teacher
    images, _ = pictures(30, 2)
    begun = image_student._prune_features(whole, features).eval()
    with torch.no_grad():
        (vector, chances), (wanted, usual) = (one(normalise(images)) for one in (begun, whole))
    assert begun.backbone.width == begun.head.in_features == begun.projection.in_features == image_student.N_FEATURES
    assert whole.backbone.width == whole.head.in_features == network.FEATURE_DIM, "the teacher stays as it is"
    assert float((vector * wanted).sum(1).mean()) > 0.8
    assert float((chances.argmax(1) == usual.argmax(1)).float().mean()) > 0.8
    assert functional.cosine_similarity(vector, wanted).min() < 0.9999


def test_its_file_takes_the_place_of_a_larger_one_where_held_out_pictures_are_told_as_well(teacher, tmp_path: Path):
    whole, features = teacher
    images, _ = pictures(120, 1)
    holdout, kind = pictures(90, 3)
    file = tmp_path / "network.onnx"
    epochs = []
    network_quantisation.export_network(whole, SIZE, file)
    less = image_student.distil_network(whole, images, features, 8, 1, lambda: epochs.append(1))
    assert len(epochs) == 8
    larger = file.read_bytes()
    wrong = nn.Linear(image_student.N_FEATURES, KINDS)
    right = less.head
    less.head = wrong
    refused = network_quantisation.quantise_student(whole, less, file, images, holdout, kind)
    assert refused["student"].startswith("not used: accuracy lost +")
    assert "form" not in refused
    assert file.read_bytes() == larger, "nothing was changed"
    less.head = right
    notes = network_quantisation.quantise_student(whole, less, file, images, holdout, kind)
    assert notes["form"] == "distil + prune + int8", notes
    assert "on 90 held-out images" in notes["student"]
    assert len(larger) > 3.5 * file.stat().st_size
    opened = open_session(file)
    assert (
        list(opened.get_inputs()[0].shape[1:])
        == [3, notes["size"], notes["size"]]
        == [3, image_student.IMAGE_SIZE, image_student.IMAGE_SIZE]
    )
    vector, chances = opened.run(None, {"picture": image_student.resize(normalise(holdout)).contiguous().numpy()})
    assert (chances.argmax(1) == kind).mean() > 0.8
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=0.05)
    features = like_trained(whole, images, file, holdout)
    assert (features == kind).mean() > 0.9
    assert 0.7 < notes["parity_cosine"] < 1.0
    assert notes["alike"] >= 0.9


def like_trained(whole: network.ImageNetwork, images: np.ndarray, file: Path, later: np.ndarray) -> np.ndarray:
    """(n,) kind of the ``shown`` image whose vector of training is nearest to what a file makes of each ``later`` image."""
    with torch.no_grad():
        trained = whole.projection(torch.from_numpy(category_training.extract_features(whole.backbone, images)))
    trained = functional.normalize(trained, dim=1).numpy()
    embedder = Embedder(file)
    vectors = embedder.vectors(list(decode_images([encoded(image) for image in later], embedder.size)))
    return (vectors @ trained.T).argmax(1) % KINDS


def encoded(image: np.ndarray) -> bytes:
    """A PNG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def test_a_tenth_of_the_pictures_judges_the_student_and_teaches_nobody():
    image_rows = np.arange(7, 1_007)
    lesson, holdout = train._split_student_images(image_rows, 8, 1)
    assert (len(lesson), len(holdout)) == (900, 100)
    assert sorted([*lesson, *holdout]) == image_rows.tolist()
    assert [len(part) for part in train._split_student_images(image_rows, 0, 1)] == [1_000, 0], (
        "without a student all of them teach"
    )
    assert [len(part) for part in train._split_student_images(image_rows[:400], 8, 1)] == [400, 0], (
        "so few could judge nothing"
    )
