"""What the ``open`` of a model says that it gives, without fitting anything."""

from typing import get_type_hints

from vetrina.core import plugins
from vetrina.core.protocols import History


def opened_type(model: str) -> type:
    """The declared type of what ``models/NAME/online.py`` opens; ``object`` where nothing is declared."""
    return get_type_hints(plugins.load_module("models", model, "online").load).get("return", object)


def takes_history(model: str) -> bool:
    """Whether its ``score`` is declared to take a History."""
    score = getattr(opened_type(model), "score", None)
    return score is not None and History in get_type_hints(score).values()


def trained() -> list[str]:
    """Every model that learns."""
    return [name for name in plugins.names("models") if plugins.has_module("models", name, "train")]
