"""Which form to judge next: pure, and without a clock, so that equal judgements find the equal form.

Forms stand in the order of the work that they leave, least first. Of two forms the one that takes less away is not worse, so one
judgement settles many: a form that may stay closes all that work more, one that may not closes all that are as bold in every
respect. Asking the middle of what is open takes about log2(n) judgements of n forms.
"""

from collections.abc import Sequence

from vetrina.core.compression import Form


def middle(open_: Sequence[Form]) -> Form:
    """Of the forms that are open (at least one), the one to judge next."""
    return open_[(len(open_) - 1) // 2]


def still_open(open_: Sequence[Form], judged: Form, kept: bool) -> tuple[Form, ...]:
    """What may be the cheapest form that passes, now that one of ``open_`` was judged."""
    if kept:
        return tuple(open_[: list(open_).index(judged)])
    return tuple(form for form in open_ if form != judged and not form.as_bold_as(judged))
