"""Types of requests and settings: that msgspec can free them."""

import os
import subprocess
import sys

import pytest

# At the exit of a process all types are freed, in an order that varies. Here each is freed at once, in a process whose memory
# allocator finds each use of what is freed or was never set.
SCRIPT = """
import gc, importlib, sys, typing
import msgspec

for value in list(vars(importlib.import_module(sys.argv[1])).values()):
    if isinstance(value, type) and issubclass(value, msgspec.Struct):
        hints = typing.get_type_hints(value, include_extras=True)
        copied = msgspec.defstruct("Copied", [(name, hint, None) for name, hint in hints.items()])
        msgspec.convert({}, copied)
        del copied
        gc.collect()
"""


MODULES = ["vetrina.serve.schemas", "vetrina.core.filters", "vetrina.core.settings"]
SCENARIOS_THAT_RANK = ["ads", "recommend", "search"]


@pytest.mark.parametrize("module", [*MODULES, *(f"vetrina.scenarios.{name}.schema" for name in SCENARIOS_THAT_RANK)])
def test_types_can_be_freed(module):
    """msgspec 0.22 crashes where a union of text and a list or a mapping gives the text a pattern."""
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    command = [sys.executable, "-c", SCRIPT, module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
