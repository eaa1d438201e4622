"""Training of GRU4Rec: a recurrent encoder, and the training that all sequence models share."""

from functools import partial

from vetrina.models.gru.model import MODEL
from vetrina.nn.next_item.recurrent import build_encoder
from vetrina.nn.next_item.training import SequenceModelTrainer

fit = SequenceModelTrainer(MODEL.name, MODEL.hyperparameters, partial(build_encoder, "GRU")).fit
