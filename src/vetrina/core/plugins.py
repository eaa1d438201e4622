"""Discovery of model and scenario plug-ins by folder name."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from vetrina.core.errors import BadInput


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind ("models" or "scenarios"), sorted: the packages ``vetrina.<kind>.*``."""
    package = importlib.import_module(f"vetrina.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)


def load_module(kind: str, name: str, module: str) -> ModuleType:
    """The imported module ``vetrina.<kind>.<name>.<module>``.

    Args:
        kind: "models" or "scenarios".
        name: Name of the plug-in.
        module: Name of the module in its folder.

    Raises:
        BadInput: There is no such plug-in; the message lists all.
    """
    known_names = names(kind)
    if name not in known_names:
        raise BadInput(name, f"is not one of the {kind}", f"known: {', '.join(known_names)}")
    return importlib.import_module(f"vetrina.{kind}.{name}.{module}")


def has_module(kind: str, name: str, module: str) -> bool:
    """Whether a plug-in has a module, without importing it.

    Args:
        kind: "models" or "scenarios".
        name: Name of the plug-in.
        module: Name of the module.
    """
    return importlib.util.find_spec(f"vetrina.{kind}.{name}.{module}") is not None
