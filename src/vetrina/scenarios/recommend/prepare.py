"""What serving of recommend needs beside the models, and the models that the data supports."""

from pathlib import Path

from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.core.types import TrainingData
from vetrina.features import business_value, histories, item_statistics, retention
from vetrina.scenarios.recommend.scenario import RECIPE

_MIN_EVENTS_FOR_NETWORKS = 200
_MIN_IMAGES = 20  # products with an image, from which image similarity is used
_NEURAL_MODELS = ("sasrec", "gru")
_RETENTION_DAYS = (7.0, 28.0)


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """The models that this data supports.

    Without events only popularity (the order of the catalogue) and content; with few events no sequence networks; friends and
    images where the shop has them.
    """
    events = training_data.interactions
    if events is None or len(events) == 0:
        return ("popular", "fusion")
    unsupported: set[str] = set()
    if len(events) < _MIN_EVENTS_FOR_NETWORKS:
        unsupported.update(_NEURAL_MODELS)
    if not training_data.social_graph:
        unsupported.add("friends")
    if _n_images(training_data) < _MIN_IMAGES:
        unsupported.add("image")
    return tuple(model for model in RECIPE.models if model not in unsupported)


def _n_images(training_data: TrainingData) -> int:
    """Number of products with an image."""
    if training_data.catalogue is None:
        return 0
    return sum(1 for image in training_data.catalogue.images if image)


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models; returns the training data as it is.

    Raises:
        ValueError: there is no catalogue.
    """
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("recommend needs a catalogue")
    write_catalogue(catalogue, into / "catalogue")
    histories.write(training_data.interactions, into / "histories")
    item_statistics.write(training_data, into / "statistics")
    rates = [retention.retention_rates(training_data.interactions, len(catalogue), days) for days in _RETENTION_DAYS]
    business_value.write(catalogue, rates, into)
    return training_data
