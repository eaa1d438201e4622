"""Which form to judge next: pure, and without a clock, so that equal judgements find the equal form.

Forms stand in the order of the work that they leave, least first. Of two forms the one that takes less away is not worse, so one
judgement settles many: a form that may stay closes all that work more, one that may not closes all that are as bold in every
respect. Asking the middle of what is open takes about log2(n) judgements of n forms.
"""

from collections.abc import Sequence

from vetrina.core.compression import CompressionVariant


def middle_variant(candidates: Sequence[CompressionVariant]) -> CompressionVariant:
    """Of the forms that are open (at least one), the one to judge next."""
    return candidates[(len(candidates) - 1) // 2]


def remaining_variants(
    candidates: Sequence[CompressionVariant], judged_variant: CompressionVariant, is_kept: bool
) -> tuple[CompressionVariant, ...]:
    """What may be the cheapest form that passes, now that one of ``open_`` was judged."""
    if is_kept:
        return tuple(candidates[: list(candidates).index(judged_variant)])
    return tuple(
        form for form in candidates if form != judged_variant and not form.is_at_least_as_aggressive_as(judged_variant)
    )
