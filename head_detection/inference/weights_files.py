"""Which file a user means by a name, and which engines take it.

No torch here: options are parsed, and mistakes in them answered, before it loads.
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
"""In place of an engine: the one that was fastest on this processor when it was measured."""
EXPORTED: Final = {".onnx": ("onnx", "openvino"), ".xml": ("openvino",)}
"""Engines by the end of a file's name, its own first; all other files are PyTorch's."""
INT8: Final = "int8"
"""A precision that the weights' export has, a file beside them."""
DEFAULT_WEIGHTS: Final = "fast.safetensors"
SUFFIXES: Final = (".safetensors", ".yaml")
_PACKAGE: Final = Path(__file__).parents[1]


def shipped_weights(name: str = DEFAULT_WEIGHTS) -> Path:
    """Return the path of a shipped weights file.

    Raises:
        WeightsError: it is neither in the installed package nor in the checkout. One line.
    """
    found = _find(name)
    if found is not None:
        return found
    raise WeightsError(
        f"expected the shipped weights {name} in {' or '.join(map(str, _folders()))}; found none: "
        "give the path of others, or train some"
    )


def weights_path(name: str | Path) -> Path:
    """Return the path that a user means: ``fast`` and ``accurate`` are shipped files.

    The folder of a training run is its best weights. Anything else is a path as it stands, and so
    is a file of such a name in the working folder.

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
    """Make sure that there is a weights file, of which nothing is read.

    Raises:
        WeightsError: none. One line, with the shipped name that is close to it.
    """
    if path.exists():
        return
    shipped = [
        file for folder in _folders() for file in folder.glob("*") if file.suffix in SUFFIXES
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
    """Return the engine that is asked for; None is the file's own.

    Raises:
        EngineError: no such engine, or it does not take the file. One line.

    Example:
        >>> choose_engine(Path("a.onnx"), None), choose_engine(Path("a.onnx"), "openvino")
        ('onnx', 'openvino')
    """
    takers = EXPORTED.get(path.suffix, ENGINES)
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
    """Return the 8-bit export of a ``.safetensors`` file: beside it, called like it.

    Args:
        path: of the file.
        engine: that is asked for.

    Raises:
        EngineError: it does not take such exports. One line.
        WeightsError: there is none. One line.
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
    """Return the digest of the file, of an ``.xml`` with its ``.bin`` that of one after the other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "empty")
        ...     file.touch()
        ...     sha256_of(file)[:8]
        'e3b0c442'
    """
    digest = hashlib.sha256(path.read_bytes())
    if path.suffix == ".xml":
        digest.update(path.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


def digest_of_all(path: Path, precision: str) -> str:
    """Return the digest of all that a detector is built of.

    Of a preset, with the file it names; in int8, with the export beside the file.

    Raises:
        OSError: a file cannot be read.
    """
    files = [path]
    named = _named_by_preset(path) if path.suffix == ".yaml" else None
    if named is not None:
        files.append(path.parent / named)
    export = _int8_name(files[-1])
    is_whole = export.is_file() and export.with_suffix(".bin").is_file()
    if precision == INT8 and path.suffix not in EXPORTED and is_whole:
        files.append(export)  # else whoever builds it will say what is not there
    digests = [sha256_of(file) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _named_by_preset(path: Path) -> str | None:
    """Return which file a preset names; None where it is none, as whoever builds it will say."""
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
