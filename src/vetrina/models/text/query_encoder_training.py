"""How the encoder of queries is taught: first a teacher, where the plan pays for one, then the encoder."""

from dataclasses import dataclass
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Ints, TrainingPlan
from vetrina.models.text import cross_encoder, query_fine_tuning
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import PretrainedEncoder, SentenceEncoder
from vetrina.models.text.training_queries import TrainingQuery


@dataclass(frozen=True)
class QueryEncoderTrainer:
    """The encoder of queries (``network``), and what it is to find: ``texts`` and their ``vectors`` (texts, width)."""

    pretrained: PretrainedEncoder
    network: SentenceEncoder
    encoder: TextEncoder
    texts: list[str]
    vectors: Floats

    def fit(
        self, queries: list[TrainingQuery], plan: TrainingPlan, hyperparameters: dict[str, float], progress: Progress
    ) -> dict[str, Any]:
        """Changes the network; the notes' settings say what later fits repeat, also that there was nothing to learn."""
        stop = 0
        found = {}
        told = None
        if queries:
            learnt, held = query_fine_tuning.split_queries(queries, plan, hyperparameters)
            if hyperparameters["teacher"]:
                told, found = self._teacher_scores(learnt, held, plan, int(hyperparameters["teacher"]), progress)
            stop, more = query_fine_tuning.fine_tune(
                self.network, self.encoder, self.vectors, learnt, held, told, plan, hyperparameters, progress
            )
            found |= more
        kept = {
            "epochs": hyperparameters["epochs"] * bool(stop),
            "stop": stop,
            "teacher": hyperparameters["teacher"] * (told is not None),
        }
        return {**found, "settings": {**hyperparameters, **kept}}

    def _teacher_scores(
        self,
        learnt: list[TrainingQuery],
        held: list[TrainingQuery],
        plan: TrainingPlan,
        epochs: int,
        progress: Progress,
    ) -> tuple[cross_encoder.CrossEncoderScores | None, dict[str, float]]:
        """None from a teacher that orders the lists of held-out queries no better than the encoder does."""
        near = self._nearest_texts(learnt, cross_encoder.N_NEAREST_TEXTS)
        taught = cross_encoder.CrossEncoderTeacher(self.pretrained, self.texts, plan)
        taught.fit(learnt, near, epochs, progress)
        if not held:
            return taught.distillation_scores(learnt, near), {}
        gain = taught.ndcg_gain(held, self._nearest_texts(held, cross_encoder.HELD_OUT_LIST_SIZE))
        notes = {"teacher_gain": gain.point, "teacher_gain_at_least": gain.low}
        return (taught.distillation_scores(learnt, near) if gain.low > 0 else None), notes

    def _nearest_texts(self, asked: list[TrainingQuery], k: int) -> Ints:
        return cross_encoder.nearest_texts(
            query_fine_tuning.query_vectors(self.network, self.encoder, asked), self.vectors, k
        )
