"""Which file a user means by a name, and which engines take it.

This module does not import torch, so that mistakes in options are reported before torch loads.
"""

import difflib
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import yaml

from head_detection.errors import EngineError, WeightsError

ENGINES: Final = ("torch", "openvino", "onnx")
AUTO: Final = "auto"
"""Instead of an engine: the one that was measured to be fastest on this processor."""
EXPORTED: Final = {".onnx": ("onnx", "openvino"), ".xml": ("openvino",)}
"""Engines by file suffix, the file's own first; all engines take other files."""
INT8: Final = "int8"
"""The precision of an 8-bit export, a file beside the weights."""
DEFAULT_WEIGHTS: Final = "fast.safetensors"
SUFFIXES: Final = (".safetensors", ".yaml")
_PACKAGE: Final = Path(__file__).parents[1]


def shipped_weights(name: str = DEFAULT_WEIGHTS) -> Path:
    """Return the path of a shipped weights file.

    Raises:
        WeightsError: it is not in the installed package or the checkout. One line.
    """
    found = _find(name)
    if found is not None:
        return found
    raise WeightsError(
        f"expected the shipped weights {name} in {' or '.join(map(str, _folders()))}; found none: "
        "give the path of others, or train some"
    )


def weights_path(name: str | Path) -> Path:
    """Return the path that a user means: ``fast``, ``accurate`` and ``light`` are shipped files.

    The folder of a training run means its best weights. Anything else is used as a path; a file in
    the working folder takes precedence over a shipped one of the same name.

    Raises:
        WeightsError: a folder without weights. One line.

    Example:
        >>> weights_path("fast").name, weights_path("my/fast").name
        ('fast.safetensors', 'fast')
    """
    path = Path(name)
    if path.is_dir():
        return _best_of_run(path)
    is_bare = not path.suffix and path.name == str(name) and not path.exists()
    shipped = (_find(f"{name}{suffix}") for suffix in SUFFIXES) if is_bare else ()
    return next((found for found in shipped if found is not None), path)


def check_presence(path: Path) -> None:
    """Check that a weights file exists, without reading it.

    Raises:
        WeightsError: there is no such file. One line, which suggests a similar shipped name.
    """
    if path.exists():
        return
    shipped = [
        file
        for folder in _folders()
        for file in folder.glob("*")
        if file.suffix.lower() in SUFFIXES
    ]
    close = difflib.get_close_matches(str(path), sorted({file.stem for file in shipped}), n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise WeightsError(f"{path}: expected a weights file; got no such file{meant}")


def _best_of_run(folder: Path) -> Path:
    best, state = folder / "best.safetensors", folder / "last.safetensors"
    if best.is_file():
        return best
    if state.is_file():
        raise WeightsError(
            f"{folder}: expected {best.name} in the run's folder; its run stopped before the first "
            f"validation: `convert release --input {state}` makes weights of where it was"
        )
    raise WeightsError(f"{folder}: expected the folder of a training run; no {best.name} in it")


def choose_engine(path: Path, engine: str | None) -> str:
    """Return the requested engine; None is the file's own.

    Raises:
        EngineError: no such engine, or it does not take the file. One line.

    Example:
        >>> choose_engine(Path("a.onnx"), None), choose_engine(Path("a.onnx"), "openvino")
        ('onnx', 'openvino')
    """
    takers = EXPORTED.get(path.suffix.lower(), ENGINES)
    engine = takers[0] if engine is None else engine
    if engine not in ENGINES:
        raise EngineError(f"engine: expected {', '.join((AUTO, *ENGINES))}; got {engine!r}")
    if engine not in takers:
        raise EngineError(
            f"engine: {path.name} runs with {' or '.join(takers)}; got {engine}: give it the "
            ".safetensors file"
        )
    return engine


def int8_path(path: Path, engine: str | None) -> Path:
    """Return the 8-bit export of a ``.safetensors`` file, which is beside it and named after it.

    Args:
        path: the ``.safetensors`` file.
        engine: the requested engine.

    Raises:
        EngineError: the engine does not take such exports. One line.
        WeightsError: there is no such export. One line.
    """
    if engine not in (None, AUTO, "openvino"):
        raise EngineError(f"precision: {INT8} is for engine openvino; got {engine}")
    export = _int8_name(path)
    if not export.is_file():
        raise WeightsError(
            f"{path}: expected its export in {INT8} beside it, {export.name}; no such file: "
            f"`{int8_command(path, export)}`"
        )
    return export


def int8_command(path: Path, export: Path) -> str:
    """Return the command that makes the 8-bit export of a file."""
    return f"export --weights {path} --to openvino --{INT8} --calibration DIR --output {export}"


def sha256_of(path: Path) -> str:
    """Return the digest of a file; for an ``.xml``, of its content followed by its ``.bin``'s.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "empty")
        ...     file.touch()
        ...     sha256_of(file)[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix.lower() == ".xml":
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


def digest_of_all(path: Path, precision: str) -> str:
    """Return the digest of all files that a detector is built from.

    A preset includes the file that it names; int8 includes the export beside the file.

    Raises:
        OSError: a file cannot be read.
    """
    files = [path]
    named = _named_by_preset(path) if path.suffix.lower() == ".yaml" else None
    if named is not None:
        files.append(path.parent / named)
    export = _int8_name(files[-1])
    is_whole = export.is_file() and export.with_suffix(".bin").is_file()
    if precision == INT8 and path.suffix.lower() not in EXPORTED and is_whole:
        files.append(export)  # if it is missing, building the detector reports it
    digests = [sha256_of(file) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _named_by_preset(path: Path) -> str | None:
    """Return the file that a preset names; None if it is invalid, which building reports."""
    with suppress(ValueError, yaml.YAMLError):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = values.get("weights") if isinstance(values, dict) else None
        if isinstance(name, str) and (path.parent / name).is_file():
            return name
    return None


def _int8_name(path: Path) -> Path:
    return path.with_name(f"{path.stem}-{INT8}.xml")


def _folders() -> tuple[Path, Path]:
    return _PACKAGE / "weights", _PACKAGE.parent / "weights"


def _find(name: str) -> Path | None:
    return next((folder / name for folder in _folders() if (folder / name).is_file()), None)
