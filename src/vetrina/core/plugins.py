"""Finds models and scenarios by walking the package's folders; a name is all anyone needs to know."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from vetrina.core.errors import BadInput


def names(kind: str) -> list[str]:
    """Every ``vetrina.<kind>.*`` folder, sorted."""
    package = importlib.import_module(f"vetrina.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)


def load_module(kind: str, name: str, module: str) -> ModuleType:
    """Module ``vetrina.<kind>.<name>.<module>``. Raises BadInput with the known names."""
    if name not in names(kind):
        raise BadInput(name, f"is not one of the {kind}", f"known: {', '.join(names(kind))}")
    return importlib.import_module(f"vetrina.{kind}.{name}.{module}")


def has_module(kind: str, name: str, module: str) -> bool:
    """Whether that plug-in has such a module, without importing it."""
    return importlib.util.find_spec(f"vetrina.{kind}.{name}.{module}") is not None
