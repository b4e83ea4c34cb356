"""``serve`` before it serves: its options and its mistakes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps.main import main
from head_detection.apps.service_options import read_keys
from head_detection.serving import server
from head_detection.serving.settings import ServiceSettings


def settings_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> ServiceSettings:
    """Return the limits that a command line comes to; nothing is served."""
    served: list[Any] = []

    def serve(*arguments: Any) -> None:
        served.append(arguments)
        assert capsys.readouterr().out == ""
        arguments[-1]()  # now it answers

    monkeypatch.setattr(server, "serve", serve)
    assert main(["serve", "--port", "0", *words]) == 0
    settings = served[0][1]
    assert isinstance(settings, ServiceSettings)
    return settings


def test_options_become_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = settings_of(monkeypatch, capsys, "--device", "cpu")
    assert settings == ServiceSettings(hosts=("localhost", "127.0.0.1", "::1"))
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    keys = tmp_path / "keys"
    keys.write_bytes(
        b"\xef\xbb\xbf# of the first user\r\nsecret\n\n other \n"
    )  # by Windows' editor
    words = [
        "--host",
        "0.0.0.0",  # noqa: S104 - it is what is tested
        "--api-key-file",
        str(keys),
        "--max-delay",
        "25",
        "--max-batch",
        "3",
    ]
    settings = settings_of(monkeypatch, capsys, *words, "--allow-origin", "https://a.example/")
    assert (settings.hosts, settings.keys) == (None, ("secret", "other"))
    assert (settings.max_delay, settings.origins) == (0.025, ("https://a.example",))
    assert settings.max_batch == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--port", "70000"], "error: argument --port: expected 0 to 65535; got 70000"),
        (["--allow-origin", "a.example"], "error: argument --allow-origin: expected https://HOST"),
        (["--allow-origin", "*"], "error: argument --allow-origin: expected https://HOST"),
        (["--allow-origin", "https://a.b/c"], "error: argument --allow-origin: expected https:"),
        (["--queue", "0"], "error: argument --queue: expected 1 or more; got 0"),
        (["--deadline", "0"], "error: argument --deadline: expected 0.01 to 86400; got 0"),
        (["--api-key-file", "none"], "error: none: No such file or directory"),
        (["--port", "0", "--weights", "none.safetensors"], "error: none.safetensors: "),
        (["--port", "0", "--device", "cuda:99"], "error: device: cuda:99 asked for, but torch"),
        (["--host", "192.0.2.1"], "error: 192.0.2.1:8000: Cannot assign requested address"),
    ],
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_mistakes_are_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["serve", *words])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1
    assert captured.out == ""  # nobody would answer at an address


@pytest.mark.parametrize("text", ["", "# nothing else\n", "two words\n", "schlüssel\n"])
def test_a_file_of_keys_that_cannot_be_used(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ValueError, match="expected keys of ASCII letters, one a line"):
        read_keys(path)


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["serve"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: expected the package fastapi for this; it is not installed")
    assert errors.endswith("pip install 'head-detection[serve]'\n")


def test_help_needs_neither_torch_nor_the_extra(repository: Path) -> None:
    code = (
        "import sys; from head_detection.apps.main import main\n"
        "try: main(['serve', '--help'])\n"
        "finally: assert not {'torch', 'fastapi', 'uvicorn'} & set(sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "--max-batch N" in ended.stdout
