"""What the processor at hand can do with whole numbers: the same int8 file may answer differently on another one.

Without VNNI, x86 adds products of 8-bit numbers up in 16 bits that saturate; with it in 32. So a file is verified anew on a
processor of another kind.
"""

import platform
from functools import cache
from pathlib import Path

_RELEVANT_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
_INT32_ACCUMULATION_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@cache
def cpu_description(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The architecture and those of its features that quantised files depend on, in one line."""
    found = _cpu_flags(cpuinfo.read_text() if cpuinfo.exists() else "")
    return " ".join([platform.machine().lower(), *(f for f in _RELEVANT_FLAGS if f in found)])


def int8_sums_saturate(description: str) -> bool:
    """Whether sums of 8-bit products may saturate on a processor of that ``kind``: then weights have to keep to 7 bits."""
    features = set(description.split())
    return "avx2" in features and not features & _INT32_ACCUMULATION_FLAGS


def _cpu_flags(cpuinfo: str) -> set[str]:
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return {word for name, _, value in lines if name.strip() in ("flags", "Features") for word in value.split()}
