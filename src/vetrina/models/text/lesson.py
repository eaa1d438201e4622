"""How the encoder of queries is taught: first a teacher, where the plan pays for one, then the encoder."""

from dataclasses import dataclass
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Ints, Plan
from vetrina.models.text import finetune, teacher
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network, Pretrained
from vetrina.models.text.queries import Asked


@dataclass(frozen=True)
class Lesson:
    """The encoder of queries (``network``), and what it is to find: ``texts`` and their ``vectors`` (texts, width)."""

    pretrained: Pretrained
    network: Network
    encoder: Encoder
    texts: list[str]
    vectors: Floats

    def learn(self, asked: list[Asked], plan: Plan, chosen: dict[str, float], progress: Progress) -> dict[str, Any]:
        """Changes the network; the notes' settings say what later fits repeat, also that there was nothing to learn."""
        stop, found, told = 0, {}, None
        if asked:
            learnt, held = finetune.parted(asked, plan, chosen)
            if chosen["teacher"]:
                told, found = self._lessons(learnt, held, plan, int(chosen["teacher"]), progress)
            stop, more = finetune.finetune(
                self.network, self.encoder, self.vectors, learnt, held, told, plan, chosen, progress
            )
            found |= more
        kept = {
            "epochs": chosen["epochs"] * bool(stop),
            "stop": stop,
            "teacher": chosen["teacher"] * (told is not None),
        }
        return {**found, "settings": {**chosen, **kept}}

    def _lessons(
        self, learnt: list[Asked], held: list[Asked], plan: Plan, epochs: int, progress: Progress
    ) -> tuple[teacher.Lessons | None, dict[str, float]]:
        """None from a teacher that orders the lists of held-out queries no better than the encoder does."""
        near = self._nearest(learnt, teacher.NEAR)
        taught = teacher.Teacher(self.pretrained, self.texts, plan)
        taught.learn(learnt, near, epochs, progress)
        if not held:
            return taught.lessons(learnt, near), {}
        gain = taught.gain(held, self._nearest(held, teacher.SHOWN))
        notes = {"teacher_gain": gain.point, "teacher_gain_at_least": gain.low}
        return (taught.lessons(learnt, near) if gain.low > 0 else None), notes

    def _nearest(self, asked: list[Asked], k: int) -> Ints:
        return teacher.nearest(finetune.vectors_of(self.network, self.encoder, asked), self.vectors, k)
