"""What the ``open`` of a model says that it gives, without fitting anything."""

import importlib
from typing import get_type_hints

from vetrina.core.protocols import History


def opened_type(model: str) -> type:
    """The declared type of what ``models/NAME/online.py`` opens; ``object`` where nothing is declared."""
    online = importlib.import_module(f"vetrina.models.{model}.online")
    return get_type_hints(online.load).get("return", object)


def takes_history(model: str) -> bool:
    """Whether its ``score`` is declared to take a History."""
    score = getattr(opened_type(model), "score", None)
    return score is not None and History in get_type_hints(score).values()
