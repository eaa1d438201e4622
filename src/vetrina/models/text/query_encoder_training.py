"""Training of the query encoder: first a cross-encoder teacher, where the plan asks for one, then fine-tuning."""

from dataclasses import dataclass

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Ints, TrainingPlan, TrainNotes
from vetrina.models.text import cross_encoder, query_fine_tuning
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import PretrainedEncoder, SentenceEncoder
from vetrina.models.text.training_queries import TrainingQuery


@dataclass(frozen=True)
class QueryEncoderTrainer:
    """The query encoder (``network``), and the product ``texts`` it retrieves with their ``vectors`` (texts, width)."""

    pretrained: PretrainedEncoder
    network: SentenceEncoder
    encoder: TextEncoder
    texts: list[str]
    vectors: Floats

    def fit(
        self, queries: list[TrainingQuery], plan: TrainingPlan, hyperparameters: dict[str, float], progress: Progress
    ) -> TrainNotes:
        """Fine-tunes the network in place.

        Args:
            queries: Training queries with their relevant texts; without any the network stays as it is.
            plan: Seed and threads.
            hyperparameters: Those of ``models/text/model.py``; ``teacher`` is the number of epochs of the cross-encoder.
            progress: Reports the steps.

        Returns:
            The hyper-parameters that later fits repeat, with ``epochs`` 0 where training did not help and ``teacher`` 0 where
            no teacher was used, and a report with the results on held-out queries.
        """
        n_epochs = 0
        report = {}
        teacher_scores = None
        if queries:
            train_queries, held_out_queries = query_fine_tuning.split_queries(queries, plan, hyperparameters)
            n_teacher_epochs = int(hyperparameters["teacher"])
            if n_teacher_epochs:
                teacher_scores, report = self._teacher_scores(
                    train_queries, held_out_queries, plan, n_teacher_epochs, progress
                )
            n_epochs, fine_tuning_report = query_fine_tuning.fine_tune(
                self.network,
                self.encoder,
                self.vectors,
                train_queries,
                held_out_queries,
                teacher_scores,
                plan,
                hyperparameters,
                progress,
            )
            report |= fine_tuning_report
        used = {
            "epochs": hyperparameters["epochs"] * bool(n_epochs),
            "stop": n_epochs,
            "teacher": hyperparameters["teacher"] * (teacher_scores is not None),
        }
        return TrainNotes(hyperparameters={**hyperparameters, **used}, report=report)

    def _teacher_scores(
        self,
        train_queries: list[TrainingQuery],
        held_out_queries: list[TrainingQuery],
        plan: TrainingPlan,
        epochs: int,
        progress: Progress,
    ) -> tuple[cross_encoder.CrossEncoderScores | None, dict[str, float]]:
        """Scores of a trained cross-encoder and its gain; no scores if it ranks no better than the encoder."""
        nearest_texts = self._nearest_texts(train_queries, cross_encoder.N_NEAREST_TEXTS)
        teacher = cross_encoder.CrossEncoderTeacher(self.pretrained, self.texts, plan)
        teacher.fit(train_queries, nearest_texts, epochs, progress)
        if not held_out_queries:
            return teacher.distillation_scores(train_queries, nearest_texts), {}
        held_out_lists = self._nearest_texts(held_out_queries, cross_encoder.HELD_OUT_LIST_SIZE)
        gain = teacher.ndcg_gain(held_out_queries, held_out_lists)
        notes = {"teacher_gain": gain.point, "teacher_gain_at_least": gain.low}
        if gain.low <= 0:
            return None, notes
        return teacher.distillation_scores(train_queries, nearest_texts), notes

    def _nearest_texts(self, queries: list[TrainingQuery], k: int) -> Ints:
        query_vectors = query_fine_tuning.query_vectors(self.network, self.encoder, queries)
        return cross_encoder.nearest_texts(query_vectors, self.vectors, k)
