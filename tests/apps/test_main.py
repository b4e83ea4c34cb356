"""``head-detection``: what it offers, and that asking for help costs nothing."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from head_detection import __version__
from head_detection.apps import main as dispatcher
from head_detection.apps.main import available_commands, main

ROOT = Path(__file__).parents[2]


def run(*arguments: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_lists_the_commands_that_exist() -> None:
    done = run("-m", "head_detection", "--help")
    assert done.returncode == 0
    for name, purpose in available_commands().items():
        assert f"  {name} " in done.stdout
        assert purpose in done.stdout


def test_help_and_the_package_need_no_torch() -> None:
    code = (
        "import sys, head_detection, head_detection.apps.main as main\n"
        "head_detection.load_config, head_detection.Detections\n"
        "main.available_commands()\n"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    done = run("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def has_new_form(name: str) -> bool:
    return hasattr(import_module(f"head_detection.apps.{name}"), "add_arguments")


@pytest.mark.parametrize("name", [*filter(has_new_form, available_commands())])
def test_a_misspelt_option_is_answered_before_torch_is_imported(name: str) -> None:
    code = (
        "import sys, head_detection.apps.main as main\n"
        "try:\n"
        f"    main.main([{name!r}, '--no-such-option'])\n"
        "finally:\n"
        "    print([name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith("error: there is no option --no-such-option")


def test_a_detector_that_cannot_be_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    mistakes = (
        *(
            ["--weights", "acurate"],
            ["--device", "gpu"],
            ["--save", "jsn"],
            ["--tile-overlap", "1"],
        ),
        *(["--set", "inference.tyle=1"], ["--set", "tile=1"]),
    )
    lines = [["--source", "gone.png"], *(["--source", str(tmp_path), *one] for one in mistakes)]
    code = (
        "import sys, head_detection.apps.main as main\n"
        f"for words in {lines!r}:\n"
        "    code = main.main(['test', *words])\n"
        "    print(code, 'torch' in sys.modules)"
    )
    done = run("-c", code)
    assert done.stdout == "2 False\n" * len(lines)
    assert done.stderr.count("\n") == done.stderr.count("error: ") == len(lines)


@pytest.mark.skipif(sys.platform != "linux", reason="asks torch's OpenMP, as it is on Linux")
@pytest.mark.parametrize(
    ("given", "policy", "spins"),
    [
        ({}, "PASSIVE", "1000"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE", "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", "30000000000"),
    ],
)
def test_threads_soon_sleep_while_they_wait_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], policy: str, spins: str
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")  # OpenMP says what it has read, once it loads
    done = run("-m", "head_detection", "train", "--cfg", "gone.yaml")
    assert done.returncode == 2
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


def test_a_command_without_its_file_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatcher.COMMANDS, "juggle", "throw heads")
    assert "juggle" not in available_commands()
    with pytest.raises(SystemExit) as stopped:
        main(["juggle"])
    assert stopped.value.code == 2


def test_an_unknown_command_is_two_and_names_the_choices(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["dance"])
    assert stopped.value.code == 2
    assert "demo" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"head-detection {__version__}\n"


@pytest.mark.parametrize("name", sorted(available_commands()))
def test_every_command_has_help_under_its_own_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["head-detection", name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: head-detection {name}")


def test_a_script_runs_from_any_folder_of_a_plain_checkout(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "test.py"), "--help"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: test.py")
