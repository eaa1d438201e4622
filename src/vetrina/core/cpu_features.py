"""CPU features on which the results of int8 models depend.

Without VNNI, x86 processors add products of 8-bit integers in 16 bits, which saturate; with VNNI in 32 bits. An int8 model is
therefore verified again on a processor with other features.
"""

import platform
from functools import cache
from pathlib import Path

_RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
_INT32_ACCUMULATION_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@cache
def cpu_description(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The architecture and the CPU features that quantised models depend on, in one line."""
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = _cpu_flags(text)
    relevant_flags = [flag for flag in _RELEVANT_FLAGS if flag in flags]
    return " ".join([platform.machine().lower(), *relevant_flags])


def int8_sums_saturate(description: str) -> bool:
    """Whether sums of 8-bit products may saturate, so that weights must be limited to 7 bits.

    ``description`` is the text of ``cpu_description``.
    """
    features = set(description.split())
    has_int32_sums = bool(features & _INT32_ACCUMULATION_FLAGS)
    return "avx2" in features and not has_int32_sums


def _cpu_flags(cpuinfo: str) -> set[str]:
    flags: set[str] = set()
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(value.split())
    return flags
