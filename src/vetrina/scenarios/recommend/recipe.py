"""What recommend is made of."""

from pathlib import Path

from vetrina.core.types import Recipe, TrainingData
from vetrina.features import histories, item_statistics, retention
from vetrina.retrieval import business_value, catalogue_index

RECIPE = Recipe(
    scenario="recommend",
    models=(
        "popular",
        "repeat",
        "lately",
        "item_knn",
        "sessions",
        "graph_filter",
        "ease",
        "friends",
        "image",
        "fusion",
        "sasrec",
        "gru",
    ),
    baselines=("popular", "item_knn"),
    metric="NDCG@10",
)
ANSWER_KIND = "products"  # ranked, shown to shoppers
DROPS_UNWEIGHTED_MODELS = True  # a bundle may lack models that weigh nothing
ALWAYS_FITTED = ("image", "fusion")  # models that answer by themselves in some placement, whatever they weigh
_MIN_EVENTS_FOR_NETWORKS = 200
_MIN_IMAGES = 20
_NEURAL_MODELS = ("sasrec", "gru")


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """Without behaviour the shelf order is all there is, and what products are like; with little of it nothing deep is learnt;
    friends if there are any."""
    events = training_data.interactions
    if events is None or len(events) == 0:
        return ("popular", "fusion")
    without = (_NEURAL_MODELS if len(events) < _MIN_EVENTS_FOR_NETWORKS else ()) + (
        () if training_data.social_graph else ("friends",)
    )
    without += (
        () if training_data.catalogue and sum(map(bool, training_data.catalogue.images)) >= _MIN_IMAGES else ("image",)
    )
    return tuple(m for m in RECIPE.models if m not in without)


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models."""
    if training_data.catalogue is None:
        raise ValueError("recommend needs a catalogue")
    catalogue_index.write(training_data.catalogue, into / "shelf")
    histories.write(training_data.interactions, into / "histories")
    item_statistics.write(training_data, into / "statistics")
    back = [
        retention.retention_rates(training_data.interactions, len(training_data.catalogue), days)
        for days in (7.0, 28.0)
    ]
    business_value.write(training_data.catalogue, back, into / "worth.npy")
    return training_data
