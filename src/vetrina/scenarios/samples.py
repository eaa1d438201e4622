"""Sample requests with their answers, stored in a bundle to verify that it gives the same answers on another machine.

Compressed models may compute differently on a processor of another kind.
"""

from pathlib import Path

from vetrina.bundle.manifest import SampleAnswers
from vetrina.core import cpu_features
from vetrina.core.errors import UnusableVariant
from vetrina.scenarios.agreement import compare_answers
from vetrina.scenarios.base import find_scenario

_SAMPLED_REQUESTS = 24
_MIN_AGREEMENT = 0.9  # share of the stored answers


def sample_answers(scenario: str, folder: Path) -> SampleAnswers:
    """Sample requests, a folder's answers to them and the kind of this processor."""
    sampled = find_scenario(scenario)
    requests = sampled.sample_requests(folder, _SAMPLED_REQUESTS)
    answers = sampled.answer_requests(folder, requests)
    return SampleAnswers(cpu_features.cpu_description(), list(requests), list(answers))


def verify_samples(
    scenario: str, folder: Path, samples: SampleAnswers | None, processor_kind: str | None = None
) -> None:
    """Answer the sample requests again, if this processor is of another kind than that of the stored answers.

    Args:
        scenario: name of the scenario.
        folder: the bundle's folder.
        samples: what ``sample_answers`` returned; None for a bundle without samples.
        processor_kind: kind of this processor; detected if None.

    Raises:
        UnusableVariant: less than nine in ten answers are the same.
    """
    processor_kind = processor_kind or cpu_features.cpu_description()
    if samples is None or samples.processor == processor_kind:
        return
    answers = find_scenario(scenario).answer_requests(folder, samples.requests)
    agreement = compare_answers(answers, samples.answers)
    if agreement.share < _MIN_AGREEMENT:
        raise UnusableVariant(
            f"returns {agreement.share:.0%} of the answers that it returned on {samples.processor} "
            f"({_MIN_AGREEMENT:.0%} are required): it was "
            f"compressed for another processor than {processor_kind}; train on this kind of machine"
        )
