"""The rules of this project that no linter knows: sizes, names, what may be used where."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from head_detection.apps.main import COMMANDS, available_commands, parse

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "head_detection"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/performance.md")]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_SCRIPT_LINES = 10
MAX_COMMAND_LINES = 150
SCRIPT = """\
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from head_detection.apps.start import start

if __name__ == "__main__":
    sys.exit(start("{name}"))
"""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "misc", "common", "helpers", "helper"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines from the signature to the end, without the docstring."""
    first = function.body[0]
    docstring = 0
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        docstring = first.end_lineno - first.lineno + 1
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - docstring


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= MAX_FUNCTION_LINES, f"{node.name} is too long"


@pytest.mark.parametrize("name", sorted(available_commands()))
def test_commands_are_short(name: str) -> None:
    text = (PACKAGE / "apps" / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_COMMAND_LINES


def test_a_docstring_does_not_count_as_code() -> None:
    (function,) = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body
    assert isinstance(function, ast.FunctionDef)
    assert code_lines(function) == 2


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_links_are_followed_by_what_takes_those_that_lead_to_themselves(path: Path) -> None:
    called = list(calls(ast.parse(path.read_text("utf-8"))))
    raising = [name for name in called if name.endswith(".resolve") and "__file__" not in name]
    assert not raising, "files.real_path is for that"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_names_say_what_is_inside(path: Path) -> None:
    parts = {part.lower() for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not parts & NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_pickles_are_read_in_one_place_and_nothing_is_evaluated(path: Path) -> None:
    used = set(calls(ast.parse(path.read_text(encoding="utf-8"))))
    assert not used & {"eval", "exec", "pickle.load", "pickle.loads"}
    if relative(path) != "head_detection/models/weights.py":
        assert "torch.load" not in used


def test_torch_load_takes_weights_only() -> None:
    tree = ast.parse((PACKAGE / "models" / "weights.py").read_text(encoding="utf-8"))
    loads = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    loads = [node for node in loads if ast.unparse(node.func) == "torch.load"]
    assert loads
    for node in loads:
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert options.get("weights_only") == "True"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_commands_print(path: Path) -> None:
    if "apps" not in path.relative_to(PACKAGE).parts:
        assert "print" not in set(calls(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_scripts_import_and_call(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_SCRIPT_LINES
    # One form for all, which a test runs. The guard is for processes that decode pictures: they
    # import the script once more and must not start it.
    assert text.partition("\n\n")[2] == SCRIPT.format(name=path.stem)


def test_every_script_is_a_command_and_is_offered() -> None:
    assert SCRIPTS
    assert {path.stem for path in SCRIPTS} <= set(available_commands())
    assert set(available_commands()) <= set(COMMANDS)


def test_an_installation_has_every_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"]) - {"head_detection.weights"}
    folders = {path.parent.relative_to(ROOT) for path in MODULES}
    assert listed == {".".join(folder.parts) for folder in folders}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_documents_name_only_files_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    for link in links:
        if "://" not in link:
            assert (path.parent / link).exists(), f"{link} is not there"
    for name in re.findall(r"(?:scripts|configs|tests)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), f"{name} is not there"


def shell_commands(path: Path) -> list[list[str]]:
    """Return the words of each line in the shell blocks of a document."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def command_of(words: list[str]) -> list[str]:
    """Return the command's name and its arguments, empty for what is no command of this project."""
    for number, word in enumerate(words):
        if word == "head-detection":
            return words[number + 1 :]
        if word.startswith("scripts/"):
            return [Path(word).stem, *words[number + 1 :]]
    return []


PARSED = [
    ROOT / name
    for name in (
        "CONTRIBUTING.md",
        "docs/experiments.md",
        "docs/performance.md",
        "weights/README.md",
    )
]
"""Their commands need data or hours; ``test_documented_lines.py`` runs those of the other pages."""


@pytest.mark.parametrize("path", PARSED, ids=relative)
def test_documented_commands_take_their_arguments(path: Path) -> None:
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    for words in shell_commands(path):
        if words[0] == "make":
            assert words[1] in targets, words
        name, *arguments = command_of(words) or ["--help"]
        if name != "--help":
            parsed = vars(parse([name, *arguments]))
            assert (ROOT / (parsed.get("cfg") or "")).exists(), words
