"""What the processor is and which wide products it has; known without torch."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

DESCRIPTION: Final = Path("/proc/cpuinfo")  # Linux alone has it
_FIRST_CORE: Final = 16 * 1024
"""Characters: all cores are described alike, hundreds of them on a server."""
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
"""Flags by what a processor is called for speed, the fastest first."""


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: its maker's.
        flags: of the instructions it has, as Linux spells them; none elsewhere.
        architecture: as Python spells it.
    """

    name: str
    flags: frozenset[str]
    architecture: str

    @property
    def kind(self) -> str:
        """The widest products that it has.

        Example:
            >>> Processor("", frozenset({"avx2", "avx512f", "avx512_vnni"}), "x86_64").kind
            'AVX512-VNNI'
        """
        kinds = (kind for kind, flags in _KINDS.items() if not flags.isdisjoint(self.flags))
        is_arm = self.architecture.lower() in ("arm64", "aarch64")
        return next(kinds, "Arm" if is_arm else self.architecture)

    @property
    def has_amx(self) -> bool:
        """Whether it multiplies tiles."""
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
    r"""Return what Linux describes.

    Args:
        text: of ``/proc/cpuinfo``; empty elsewhere.

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
