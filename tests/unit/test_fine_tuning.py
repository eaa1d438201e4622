"""What of a pretrained network learns on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vetrina import Shop
from vetrina.core.errors import BadInput, NotFound
from vetrina.core.settings import Settings, load
from vetrina.models.image import category_training, network
from vetrina.nn.fine_tuning import ALL_LAYERS, FineTuner, FineTuning, LoRA

EPOCHS = 3


class Tower(nn.Module):
    """Four layers and something beside them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def learnt(how: FineTuning) -> tuple[list[bool], Tower]:
    """Which of ``before`` and the four layers changed, in weights or in what they count, after three epochs of noise."""
    tower = Tower()
    first = {name: value.clone() for name, value in tower.state_dict().items()}
    learner = FineTuner(tower, tower.layers, how, EPOCHS)
    optimiser = torch.optim.SGD(learner.parameters, 0.1) if learner.parameters else None
    torch.manual_seed(1)
    for epoch in range(1, EPOCHS + 1):
        learner.start_epoch(epoch)
        loss = (tower(torch.randn(16, 4)) - 1).square().mean()
        if optimiser is not None:
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    learner.finish()
    state = tower.state_dict()
    assert state.keys() == first.keys(), "what serves has the old shape"
    parts = ["before", *(f"layers.{i}." for i in range(4))]
    changed = [any(not torch.equal(state[n], first[n]) for n in first if n.startswith(part)) for part in parts]
    return changed, tower


@pytest.mark.parametrize(
    ("how", "changed"),
    [
        (FineTuning(), [True, True, True, True, True]),
        (FineTuning(0), [False, False, False, False, False]),
        (FineTuning(1), [False, False, False, False, True]),
        (FineTuning(1, unfreeze_per_epoch=1), [False, False, True, True, True]),
        (FineTuning(3, unfreeze_per_epoch=9), [False, True, True, True, True]),
        (FineTuning(2, lora_rank=2), [False, False, False, True, True]),
        (FineTuning(ALL_LAYERS, lora_rank=1), [True, True, True, True, True]),
    ],
)
def test_only_what_the_plan_opens_changes(how, changed):
    assert learnt(how)[0] == changed


def test_corrections_begin_at_nothing_and_end_as_one_weight():
    tower = Tower().eval()
    x = torch.randn(8, 4)
    before = tower(x)
    learner = FineTuner(tower, tower.layers, FineTuning(2, lora_rank=2))
    tower.eval()
    assert torch.allclose(tower(x), before)
    low = [p for p in tower.modules() if isinstance(p, LoRA)]
    assert [tuple(p.lora_b.shape) for p in low] == [(4, 2)] * 2
    for part in low:
        part.lora_b.data.normal_()
    tower.eval()
    corrected = tower(x)
    assert not torch.allclose(corrected, before)
    learner.finish()
    assert torch.allclose(tower(x), corrected, atol=1e-6)
    difference = tower.layers[3][0].weight - Tower().layers[3][0].weight  # pyright: ignore[reportIndexIssue]
    assert torch.linalg.matrix_rank(difference) == 2
    assert torch.equal(tower.layers[0][0].weight, Tower().layers[0][0].weight)  # pyright: ignore[reportIndexIssue]


def test_a_correction_of_a_convolution_is_of_its_kernels():
    layer = nn.Conv2d(3, 8, 3)
    correction = LoRA(layer.weight, 2)
    correction.lora_b.data.normal_()
    moved = (correction(layer.weight) - layer.weight).detach().flatten(1)
    assert moved.shape == (8, 27)
    assert torch.linalg.matrix_rank(moved, atol=1e-5) == 2


def test_it_ends_when_nothing_was_gained_for_so_long():
    assert not FineTuning().should_stop(best_epoch=0, epoch=100)
    assert [FineTuning(patience=2).should_stop(best_epoch=3, epoch=e) for e in (3, 4, 5)] == [False, False, True]


def test_pictures_learn_on_until_held_out_ones_gain_no_more():
    rng = np.random.default_rng(0)
    label = np.arange(120) % 2
    pixels = rng.integers(0, 60, (120, 32, 32, 3)).astype(np.uint8)
    pixels[label == 1, :, :, 0] += 180
    done = []
    torch.manual_seed(0)
    taught = category_training.train_classifier(
        network.small_cnn(), pixels, label, 2, 12, 0, lambda: done.append(1), FineTuning(patience=1, trainable_layers=3)
    )
    assert len(done) < 12
    predicted = category_training.predict_proba(
        taught, category_training.extract_features(taught.backbone, pixels)
    ).argmax(1)
    assert (predicted == label).mean() > 0.95
    torch.manual_seed(0)
    usual = network.small_cnn().blocks[0][0].weight  # pyright: ignore[reportIndexIssue]
    assert torch.equal(taught.backbone.blocks[0][0].weight, usual), "below the upper three nothing learns"  # pyright: ignore[reportIndexIssue]


def test_the_settings_say_it_and_refuse_what_is_nothing(tmp_path: Path):
    file = tmp_path / "vetrina.toml"
    file.write_text("[transfer.text]\nlora_rank = 8\n[transfer.image]\ntrainable_layers = 4\nunfreeze_per_epoch = 2\n")
    assert load(file).transfer.to_dict() == {
        "text": {"lora_rank": 8.0},
        "image": {"trainable_layers": 4.0, "unfreeze_per_epoch": 2.0},
    }
    assert Settings().transfer.to_dict() == {}
    file.write_text("[transfer.image]\ntrainable_layers = -2\n")
    with pytest.raises(BadInput, match="trainable_layers -2 is less than -1"):
        load(file)
    file.write_text("[transfer.text]\ntrainable_layers = 0\nunfreeze_per_epoch = 1\n")
    with pytest.raises(BadInput, match="trainable_layers 0 leaves nothing to train in the first epoch"):
        load(file)
    file.write_text("[transfer.text]\nlora_rank = -1\n")
    with pytest.raises(BadInput, match="lora_rank -1 is less than 0"):
        load(file)


def test_a_run_that_begins_from_a_version_that_is_not_there_is_refused(tmp_path: Path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "vetrina.toml").write_text('[train]\nwarm_start_from = "recommend-gone"\n')
    (tmp_path / "products.csv").write_text("product_id,title\n" + "".join(f"p{i},thing {i}\n" for i in range(30)))
    shop = Shop(tmp_path / "shop")
    shop.ingest(products=[tmp_path / "products.csv"])
    with pytest.raises(NotFound, match="recommend-gone: is no version of this shop"):
        shop.fit("recommend")
