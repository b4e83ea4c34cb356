"""The site of ``docs/``: built without a warning, whole, and asking nothing of other servers."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from head_detection.apps.main import available_commands
from head_detection.config import ExperimentConfig
from head_detection.data.formats import FORMATS
from head_detection.errors import PictureError
from head_detection.results.formats import SINKS, Sinks
from head_detection.results.record import Failure, Origin, Record
from head_detection.structures import Detections, RegionCount

pytest.importorskip("mkdocs", reason="the site's own packages are not here: pip install '.[docs]'")

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SCHEMA = DOCS / "detections-2.schema.json"
OF_A_RESOURCE = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""What a browser fetches by itself; an ``a`` waits for a click."""


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The hook of the site."""
    spec = spec_from_file_location("generated", DOCS / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


class Resources(HTMLParser):
    """Collects what a page lets the browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in OF_A_RESOURCE and values.get("rel") != "canonical":
            self.found.append(values.get(OF_A_RESOURCE[tag]) or "")


def test_pages_ask_nothing_of_other_servers(site: Path) -> None:
    pages = sorted(site.glob("**/*.html"))
    assert {"index.html", "card.html", "notebook.html"} <= {page.name for page in pages}
    for page in pages:
        parser = Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        assert not [url for url in parser.found if "//" in url], page.name
    for sheet in site.glob("**/*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8"))


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "measures.html").read_text(encoding="utf-8")
    assert page.count("<math") >= 10
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_what_python_has_stands_in_its_page(site: Path) -> None:
    page = (site / "python.html").read_text(encoding="utf-8")
    for name in ("HeadDetector.from_weights", "create_backbone", "FasterRCNN", "measure"):
        assert re.search(rf'id="head_detection[\w.]*\.{re.escape(name)}"', page), name


def fields_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each section, and the field's name."""
    for name, field in model.model_fields.items():
        yield path, name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from fields_of(kind, f"{path}.{name}".removeprefix("."))


def test_every_key_of_the_configuration_says_what_it_does(generated: ModuleType) -> None:
    parts = re.split(r"^## (.*)$", generated.configuration(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for path, name in fields_of(ExperimentConfig):
        table = sections[f"`{path}`" if path else "Top of the file"]
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \| (.*) \| (.*) \|$", table, re.MULTILINE)
        values, _, meaning = row
        assert values
        assert meaning, f"{path}.{name}: write a docstring below the field"


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotated[float, Field(ge=0.0, le=1.0)], "number, 0 to 1"),
        (Annotated[float, Field(ge=0.0, lt=1.0)], "number, 0 or more, under 1"),
        (tuple[Annotated[int, Field(ge=1)], ...], "list of whole number, 1 or more"),
        (tuple[int, ...] | None, "list of whole number, or `null`"),
        (tuple[float, float], "2 of: number"),
        (bool | str, "`true` or `false`, or text"),
        (Annotated[tuple[int, ...], Field(min_length=1)], "list of whole number, not empty"),
    ],
)  # fmt: skip
def test_values_are_said_with_their_bounds(
    generated: ModuleType, annotation: Any, said: str
) -> None:
    assert generated.values_of(FieldInfo.from_annotation(annotation)) == said


def test_every_command_is_there(generated: ModuleType) -> None:
    page = generated.commands()
    assert set(available_commands()) <= set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    assert "### convert release" in page
    assert "--score-threshold X" in page


def test_commands_have_no_colors_of_a_terminal(
    generated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_COLORS", "1")  # what Python 3.14 finds out about a terminal
    assert "\033" not in generated.commands()


def test_links_of_the_repository_lead_into_the_site(generated: ModuleType) -> None:
    links = generated.with_site_links
    card = "[card](../weights/README.md#fast), [f](../configs/f.yaml), [w](https://a.b/c.md)"
    assert links(card, "a.md") == "[card](card.md#fast), f, [w](https://a.b/c.md)"
    assert links("[a](docs/a.md) [b](README.md)", "contributing.md") == "[a](a.md) b"
    assert links("[a](../docs/a.md)", "card.md") == "[a](a.md)"


def test_every_format_has_a_part_in_its_page() -> None:
    def titles(name: str) -> set[str]:
        return set(re.findall(r"^## (.*)$", (DOCS / name).read_text("utf-8"), re.MULTILINE))

    assert set(FORMATS) <= titles("labels.md")
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    for name in SINKS:
        assert f"| [`{name}`](#" in text


def test_json_in_the_pages_is_json_and_the_example_fits_the_schema() -> None:
    examples = {}
    for path in DOCS.glob("*.md"):
        for text in re.findall(r"^```json\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
            examples[path.name, text[:20]] = json.loads(text)
    (full,) = [e for e in examples.values() if isinstance(e, dict) and "schema" in e]
    validator().validate(full)


def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def written(folder: Path, *outcomes: Record | Failure) -> Any:
    """Return what ``test --save json`` writes."""
    with Sinks(("json",), folder, Origin({"weights": "fast"}, 0.5)) as sinks:
        for outcome in outcomes:
            sinks.take(outcome)
    return json.loads((folder / "detections.json").read_text(encoding="utf-8"))


HALL = RegionCount("hall", ((0, 0), (9, 0), (9, 9)), now=1)


def test_detections_json_fits_its_schema(tmp_path: Path) -> None:
    found = Detections.from_arrays([[1, 2, 3, 4.5]], [0.75], (48, 64), ids=[7])
    content = written(
        tmp_path,
        Record(0, "a.jpg", Detections.empty((48, 64))),
        Record(1, "v.mp4", found, seconds=0.04, source="v.mp4", regions=(HALL,)),
        Failure(2, "v.mp4", "it is broken", PictureError("it is broken"), seconds=0.08),
    )
    assert [len(content[key]) for key in ("images", "failed")] == [2, 1]
    assert content["images"][1].keys() == record_keys()
    validator().validate(content)
    validator().validate(written(tmp_path))


def record_keys() -> set[str]:
    """Return every key that the schema knows of a record."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return set(schema["$defs"]["record"]["properties"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("score_threshold", 1.5), ("schema", "head-detection/detections/1"), ("images", [{}])],
)
def test_the_schema_refuses_what_is_none(tmp_path: Path, key: str, value: Any) -> None:
    assert not validator().is_valid(written(tmp_path) | {key: value})


def test_make_takes_torch_from_another_index(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"))
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"))

    def planned(*words: str) -> str:
        command = ["make", "--dry-run", "demo", f"PYTHON={sys.executable}", *words]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    index = "https://example.org/cpu"
    assert "--index-url" not in planned()
    plan = planned(f"TORCH_INDEX={index}")
    assert f'--index-url "{index}"' in plan
    assert plan.index(index) < plan.index("install --editable .")


def test_boxes_of_the_example_are_inside_their_picture() -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    example = json.loads(re.findall(r"^```json\n(.*?)^```$", text, re.M | re.S)[0])
    for image in example["images"]:
        boxes = np.array(image["boxes"])
        assert image["count"] == len(boxes) == len(image["scores"])
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes <= [image["width"], image["height"]] * 2).all()
