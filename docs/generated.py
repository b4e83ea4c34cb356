"""What of the site is made when it is built: configuration, command line, pages from elsewhere.

MkDocs loads this as a hook. A page holds ``<!-- generated: NAME -->`` where the text goes.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo

from head_detection.apps.convert import KINDS
from head_detection.apps.main import available_commands
from head_detection.apps.parser import CommandParser
from head_detection.config import ExperimentConfig, TrackingConfig
from head_detection.config.section import Section

ROOT: Final = Path(__file__).resolve().parents[1]
ELSEWHERE: Final = {
    "card.md": "weights/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Pages of the site that lie where a reader of the repository looks for them."""
NOTEBOOKS: Final = {"notebook.md": "first_count.ipynb"}
LINK: Final = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
TRACKING: Final = (
    "The keys of `tracking` stand in no experiment file: `test --track --set tracking.KEY=VALUE`.\n"
)
COLUMNS: Final = 78
"""Of a terminal, as wide as a page."""
MARKER: Final = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
BOUNDS: Final = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "under {}"}
NAMES: Final = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere; MkDocs calls this once."""
    for name, path in ELSEWHERE.items():
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=content))
    for name, path in NOTEBOOKS.items():
        content = notebook_page(ROOT / "docs" / path)
        files.append(File.generated(config, name, content=content))
    return files


def notebook_page(path: Path) -> str:
    """Return the cells of a notebook as a page, without outputs, and where the notebook is."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts.append(f"[The notebook itself]({path.name})")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put what is generated in the place of its marker; MkDocs calls this for each page."""
    makers = {"configuration": configuration, "commands": commands}
    markdown = MARKER.sub(lambda found: makers[found[1]](), markdown)
    return with_site_links(markdown, page.file.src_uri)


def with_site_links(markdown: str, name: str) -> str:
    """Point links of the repository at pages of the site; what is no page becomes its text.

    Example:
        >>> with_site_links("[card](../weights/README.md), [f](../configs/f.yaml)", "a.md")
        '[card](card.md), f'
    """
    folder = PurePosixPath(ELSEWHERE.get(name, f"docs/{name}")).parent
    pages = {path: page for page, path in ELSEWHERE.items()}

    def place(link: re.Match[str]) -> str:
        path = os.path.normpath(folder / link[2])
        if path.startswith("docs/"):
            return f"[{link[1]}]({path.removeprefix('docs/')}{link[3] or ''})"
        return f"[{link[1]}]({pages[path]}{link[3] or ''})" if path in pages else link[1]

    return LINK.sub(place, markdown)


def configuration() -> str:
    """Return a table a section of the experiment file: key, values, default, meaning."""
    package = griffe.load("head_detection.config", search_paths=[ROOT])
    experiment = _section(ExperimentConfig, "", package)
    return "\n".join([*experiment, TRACKING, *_section(TrackingConfig, "tracking", package)])


def _section(model: type[Section], path: str, package: Any) -> Iterator[str]:
    module = model.__module__.removeprefix("head_detection.config.")
    documented = package[module][model.__name__]
    heading = f"`{path}`" if path else "Top of the file"
    yield f"## {heading}\n\n{_markdown(documented.docstring.value)}\n"
    yield "| key | values | default | |\n|---|---|---|---|"
    inner = []
    for name, field in model.model_fields.items():
        key = f"{path}.{name}".removeprefix(".")
        section = section_in(field.annotation)
        docstring = documented.members[name].docstring
        text = _markdown(docstring.value) if docstring else ""
        if section is not None:
            text = f"{text} See [below](#{_anchor(key)}).".strip()
            inner.append((section, key))
        yield f"| `{name}` | {values_of(field)} | {_default(field, section)} | {text} |"
    yield ""
    for section, key in inner:
        yield from _section(section, key, package)


def section_in(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds, one or a list of them."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def values_of(field: FieldInfo) -> str:
    """Say what a field takes, with its bounds."""
    return _with_bounds(_describe(field.annotation), field.metadata)


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        info = inner[1]
        return _with_bounds(_describe(inner[0]), getattr(info, "metadata", [info]))
    if origin in (Union, UnionType):
        return ", or ".join("`null`" if k is NoneType else _describe(k) for k in inner)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        if inner[-1] is ...:
            return f"list of {_describe(inner[0])}"
        return f"{len(inner)} of: {_describe(inner[0])}"
    return "section" if section_in(kind) else NAMES[kind]


def _with_bounds(text: str, metadata: list[Any]) -> str:
    bounds = {key: getattr(m, key) for m in metadata for key in BOUNDS if hasattr(m, key)}
    if bounds.keys() == {"ge", "le"}:
        said = [f"{bounds['ge']:g} to {bounds['le']:g}"]
    else:
        said = [BOUNDS[key].format(f"{value:g}") for key, value in bounds.items()]
    said += ["not empty"] * any(hasattr(m, "min_length") for m in metadata)
    return ", ".join([text, *said])


def _default(field: FieldInfo, section: type[Section] | None) -> str:
    if field.is_required():
        return "none: it must be given"
    value = field.default
    if section is not None and not isinstance(value, tuple):
        return ""
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower() if value is not None else 'null'}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _anchor(key: str) -> str:
    """Return what Markdown's table of contents makes of a heading."""
    return key.replace(".", "")


def _markdown(docstring: str) -> str:
    text = " ".join(docstring.split())
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|")


def commands() -> str:
    """Return the help of every command and of every kind of conversion."""
    parts = []
    for name, purpose in available_commands().items():
        parts.append(_help(name, purpose, f"head_detection.apps.{name}", level=2))
        if name == "convert":
            parts += [
                _help(f"convert {kind}", what, f"head_detection.apps.conversions.{kind}", level=3)
                for kind, what in KINDS.items()
            ]
    return "\n".join(parts)


def _help(name: str, purpose: str, module: str, level: int) -> str:
    parser = CommandParser(
        prog=f"head-detection {name}",
        description=purpose,
        formatter_class=partial(argparse.HelpFormatter, width=COLUMNS),
    )
    vars(parser)["color"] = False  # from Python 3.14 on, argparse colours help in a terminal
    import_module(module).add_arguments(parser)
    return f"{'#' * level} {name}\n\n```text\n{parser.format_help()}```\n"
