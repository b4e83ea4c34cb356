"""Processors by what Linux says of them."""

import pytest

from head_detection import processor
from head_detection.processor import Processor, find_processor, parse_processor

XEON = "vendor_id : GenuineIntel\nmodel name : Intel(R) Xeon(R)\nflags : fpu avx2 avx512f {}\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (XEON.format("avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8"), "AMX"),
        (XEON.format("avx512_vnni avx512_bf16"), "AVX512-BF16"),
        (XEON.format("avx512_vnni"), "AVX512-VNNI"),
        (XEON.format(""), "AVX512"),
        ("model name : AMD EPYC\nflags : sse avx2\n", "AVX2"),
        ("model name : Core Ultra\nflags : avx2 avx_vnni\n", "AVX-VNNI"),
        ("Features : fp asimd asimddp bf16\n", "Arm BF16"),
        ("Features : fp asimd asimddp\n", "Arm dot products"),
    ],
)
def test_processors_are_told_apart(text: str, kind: str) -> None:
    found = parse_processor(text)
    assert found.kind == kind
    assert found.has_amx == (kind == "AMX")


def test_one_that_nobody_describes() -> None:
    assert Processor("", frozenset(), "arm64").kind == "Arm"
    assert Processor("", frozenset(), "x86_64").kind == "x86_64"
    assert parse_processor("").flags == frozenset()


def test_all_cores_are_alike(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(XEON.format("avx512_vnni") + "x" * 2**20, encoding="utf-8")
    monkeypatch.setattr(processor, "DESCRIPTION", path)
    found = find_processor.__wrapped__()
    assert (found.name, found.kind) == ("Intel(R) Xeon(R)", "AVX512-VNNI")
    path.unlink()
    assert find_processor.__wrapped__().flags == frozenset()
