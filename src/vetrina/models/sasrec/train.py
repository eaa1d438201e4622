"""Training of SASRec: a transformer as encoder, and the training that all sequence models share."""

from collections.abc import Mapping

from vetrina.models.sasrec.model import MODEL
from vetrina.models.sasrec.network import SASRecEncoder
from vetrina.nn.next_item.training import SequenceModelTrainer


def build_encoder(hyperparameters: Mapping[str, float]) -> SASRecEncoder:
    """An untrained encoder of ``width``, ``length`` and ``dropout``."""
    width = int(hyperparameters["width"])
    length = int(hyperparameters["length"])
    return SASRecEncoder(width, length, hyperparameters["dropout"])


fit = SequenceModelTrainer(MODEL.name, MODEL.hyperparameters, build_encoder).fit
