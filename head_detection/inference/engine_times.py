"""Measured times of each engine on this processor, kept in the user's cache folder.

This module does not import torch.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from head_detection.cores import num_cores
from head_detection.files import write_bytes
from head_detection.processor import find_processor

SCHEMA: Final = "head-detection/engines/1"
PACKAGES: Final = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
"""The package that each engine needs; times are measured again for another release."""


class EngineTime(BaseModel):
    """The measured time of an engine.

    Attributes:
        engine: one of ``ENGINES``.
        precision: the type it multiplied in.
        milliseconds: median time per picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["torch", "openvino", "onnx"]
    precision: Literal["fp32", "bf16", "int8"]
    milliseconds: float


class _Kept(BaseModel):
    """The content of a file of times."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["head-detection/engines/1"] = SCHEMA
    processor: str
    times: tuple[EngineTime, ...]


def cache_folder() -> Path:
    """Return this user's cache folder for the project; it may not exist yet.

    Raises:
        FileNotFoundError: the user has no home.

    Source:
        XDG Base Directory Specification 0.8: an empty or relative path is ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given / "head-detection"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise FileNotFoundError(
            "expected a home folder for the cache; this user has none"
        ) from error
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home), "head-detection", "cache")
    folder = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return home / folder / "head-detection"


def times_path(network: str, threads: int) -> Path:
    """Return the file of this machine's times for a network.

    Its name is a digest of processor, cores, threads, the engines' releases and the network.

    Args:
        network: its config, as JSON.
        threads: number that an engine computes with.

    Raises:
        FileNotFoundError: the user has no home.
    """
    processor = find_processor()
    facts = [
        processor.name,
        *sorted(processor.flags),
        str(num_cores()),
        str(threads),
        *(f"{engine} {_release(package)}" for engine, package in PACKAGES.items()),
        network,
    ]
    digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    return cache_folder() / "engines" / f"{digest[:32]}.json"


def _release(package: str) -> str:
    """Return a mark that changes when a package is reinstalled; reading its version takes 20 ms."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    try:
        return str(Path(spec.origin).stat().st_mtime_ns)
    except OSError:
        return spec.origin


def read_times(network: str, threads: int) -> tuple[EngineTime, ...]:
    """Return the times measured here for a network; empty if there are none or they are damaged.

    Args:
        network: its config, as JSON.
        threads: number that an engine computes with.
    """
    try:
        return _Kept.model_validate_json(times_path(network, threads).read_bytes()).times
    except (OSError, ValidationError):
        return ()


def write_times(network: str, threads: int, times: Iterable[EngineTime]) -> Path:
    """Write measured times; return the file.

    Args:
        network: its config, as JSON.
        threads: number that an engine computes with.
        times: one for each engine and precision that ran.

    Raises:
        OSError: the folder cannot be written, or the user has no home.
    """
    path = times_path(network, threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = _Kept(processor=find_processor().name, times=tuple(times))
    write_bytes(path, (json.dumps(kept.model_dump(), indent=2) + "\n").encode())
    return path


def fastest(times: Sequence[EngineTime], precision: str = "auto") -> EngineTime | None:
    """Return the shortest time; None if there is none.

    Args:
        times: measured times.
        precision: consider only this one; auto considers all but int8, which does not find quite
            the same heads.

    Example:
        >>> times = [
        ...     EngineTime(engine="torch", precision="fp32", milliseconds=80),
        ...     EngineTime(engine="openvino", precision="bf16", milliseconds=40),
        ...     EngineTime(engine="openvino", precision="int8", milliseconds=30),
        ... ]
        >>> fastest(times).engine, fastest(times, "fp32").engine
        ('openvino', 'torch')
    """
    able = [
        time
        for time in times
        if precision == time.precision or (precision == "auto" and time.precision != "int8")
    ]
    return min(able, key=lambda time: time.milliseconds, default=None)
