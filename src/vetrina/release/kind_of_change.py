"""Kind of change that a candidate makes to the champion, which decides how it is released. Pure."""

from dataclasses import dataclass

from vetrina.core.verdicts import KindOfChange


@dataclass(frozen=True)
class VersionOrigin:
    """How a version was made.

    Attributes:
        recipe_digest: Digest of everything that shapes a version besides its data: code, recipe and settings.
        is_quick: Whether it is the quick recipe, which serves until the full one is trained.
    """

    recipe_digest: str
    is_quick: bool = False


def kind_of_change(candidate: VersionOrigin, champion: VersionOrigin | None) -> KindOfChange:
    """Return what a candidate changes.

    Args:
        candidate: Origin of the version to release.
        champion: Origin of the version that serves; None where nothing serves yet.

    Returns:
        "first" without a champion; "full after quick" for the first full recipe after a quick one; "refresh" for the champion's
        recipe with newer data; "change" for anything else.
    """
    if champion is None:
        return "first"
    if champion.is_quick and not candidate.is_quick:
        return "full after quick"
    if candidate.recipe_digest == champion.recipe_digest:
        return "refresh"
    return "change"
