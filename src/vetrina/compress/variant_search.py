"""Bisection over compression variants. Pure, no clock, so that equal judgements select the equal variant.

Variants are ordered by the work that they leave, least first. Of two variants the less aggressive one is not worse, so one
judgement settles many: an acceptable variant rules out all that leave more work, an unacceptable one all that are as
aggressive in every respect. Judging the middle of the open variants takes about log2(n) judgements of n variants.
"""

from collections.abc import Sequence

from vetrina.core.compression import CompressionVariant


def middle_variant(candidates: Sequence[CompressionVariant]) -> CompressionVariant:
    """The variant to judge next, of at least one that is open."""
    return candidates[(len(candidates) - 1) // 2]


def remaining_variants(
    candidates: Sequence[CompressionVariant], judged_variant: CompressionVariant, is_kept: bool
) -> tuple[CompressionVariant, ...]:
    """The variants that may still be the cheapest acceptable one.

    Args:
        candidates: Variants that were open, in order.
        judged_variant: The one of them that was judged.
        is_kept: Whether it is acceptable.
    """
    if is_kept:
        return tuple(candidates[: list(candidates).index(judged_variant)])
    return tuple(
        variant
        for variant in candidates
        if variant != judged_variant and not variant.is_at_least_as_aggressive_as(judged_variant)
    )
