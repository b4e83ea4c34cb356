"""The processor and its fastest kind of multiplication, found without torch."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

DESCRIPTION: Final = Path("/proc/cpuinfo")  # only on Linux
_FIRST_CORE: Final = 16 * 1024
"""Characters to read: all cores have the same description, and a server has hundreds."""
_KINDS: Final = {
    "AMX": {"amx_bf16", "amx_int8", "amx_tile"},
    "AVX512-BF16": {"avx512_bf16"},
    "AVX512-VNNI": {"avx512_vnni"},
    "AVX-VNNI": {"avx_vnni"},
    "AVX512": {"avx512f"},
    "AVX2": {"avx2"},
    "Arm BF16": {"bf16"},
    "Arm dot products": {"asimddp"},
}
"""Names of the kinds of multiplication with the flags that show them, the fastest first."""


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: the maker's name for it.
        flags: its instruction sets, as Linux spells them; empty on other systems.
        architecture: as Python spells it.
    """

    name: str
    flags: frozenset[str]
    architecture: str

    @property
    def kind(self) -> str:
        """The fastest kind of multiplication that it has.

        Example:
            >>> Processor("", frozenset({"avx2", "avx512f", "avx512_vnni"}), "x86_64").kind
            'AVX512-VNNI'
        """
        kinds = (kind for kind, flags in _KINDS.items() if not flags.isdisjoint(self.flags))
        is_arm = self.architecture.lower() in ("arm64", "aarch64")
        return next(kinds, "Arm" if is_arm else self.architecture)

    @property
    def has_amx(self) -> bool:
        """Whether it multiplies in tiles."""
        return self.kind == "AMX"


@cache
def find_processor() -> Processor:
    """Return the processor of this machine."""
    try:
        with DESCRIPTION.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FIRST_CORE)
    except OSError:
        text = ""
    return parse_processor(text)


def parse_processor(text: str) -> Processor:
    r"""Parse Linux's description of the processor.

    Args:
        text: the content of ``/proc/cpuinfo``; empty on other systems.

    Example:
        >>> parse_processor("model name : Xeon\nflags : avx2 amx_tile\nmodel name : b\n").kind
        'AMX'
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags") or values.get("Features") or ""  # x86, and Arm
    name = values.get("model name") or platform.processor() or platform.machine()
    return Processor(name, frozenset(flags.split()), platform.machine())
