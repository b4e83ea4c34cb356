"""Every command of the README and of ``docs/`` is typed, in a folder that holds what a reader has.

A line that is added runs here as it stands, and fails where it does not work: what is changed, or
lies ready, is in the tables below with the reason. A line of several pages is typed once.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Final, NamedTuple, TextIO

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL, PYTHON, PRESET = "sh", "python", "yaml"
PRESET_FILE: Final = "weights/of-a-page.yaml"
EXPERIMENT_FILE: Final = "configs/of-a-page.yaml"
SHOWN: Final = ("text", "json", "dockerfile")
"""Blocks that are read, not typed; ``test_docs.py`` looks into the JSON."""
NOTEBOOK: Final = ROOT / "docs" / "first_count.ipynb"
PARSED: Final = ("performance.md", "experiments.md")
"""Their commands take hours, or data; ``test_project.py`` reads them."""
PAGES: Final = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in PARSED),
]
AT_ONCE: Final = 2
"""Blocks: most of a line is one thread's work, and the machines of CI have two cores."""
MAX_SECONDS: Final = 300
INSTALLING: Final = Lock()
COMMAND: Final = "head-detection"
INSTALLATION: Final = "pip install ."
"""The line that gives the command."""
OF_THE_SHELL: Final = set("|&;<>$*?~`")


class Change(NamedTuple):
    """What is typed behind a line, and why."""

    typed: str
    reason: str


ADDED: Final = {
    "python scripts/benchmark.py --weights weights/fast.safetensors --same-network": Change(
        "--measure speed --size 64x64 --pictures 1 --runs 1",
        "the stock model takes seconds a picture, whatever its size, in each part and run",
    ),
    "python scripts/benchmark.py --source my/pictures --against nothing": Change(
        "--size 96x128 --pictures 1 --limit 2 --runs 1 --measure speed,stages,command",
        "minutes of counted runs, and a process for each engine",
    ),
    "python scripts/train.py --data my/train.json --val my/val.json --epochs 20 "
    "--output runs/train/mine": Change(
        "--epochs 2 --set data.augmentation.crop_size=96 training.batch_size=2",
        "minutes of epochs and of large crops",
    ),
    "python scripts/train.py --cfg configs/light.yaml "
    "--set 'data.train=[{path: my/train.json}]' training.initial_weights=small.safetensors "
    "--output runs/train/small": Change(
        "--epochs 1 --set data.augmentation.crop_size=96 training.batch_size=2",
        "minutes of epochs and of large crops",
    ),
}
"""Options behind a line. All others are typed as they stand."""
READY: Final = {
    "make demo": "the stamp that .venv is installed, and this environment as its Python: the "
    "installation takes minutes and 6 GB, and is how these tests came to run",
    "curl": "a server, which SERVES has started, and a curl that finds it",
    "pip install": "PIP_NO_DEPS, PIP_NO_BUILD_ISOLATION and PIP_NO_INDEX, as all that is needed is "
    "here; a PIP_TARGET each, to leave this environment, and lines that run beside, alone. "
    "`make package` installs all anew",
    "python ": "torch is imported once for all lines, which run in forks (tests/warm_python.py)",
    "configs/scut.yaml": "a small network that downloads no body, 2 epochs (reader_folder.py)",
}
"""What lies ready in the folder or around it, so that the lines with these words run unchanged."""
UNTYPED: Final = {
    "make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu": "an index that no test reaches; "
    "test_docs.py looks at what make would do",
    "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu": "likewise",
    "apt-get install libgl1 libglib2.0-0": "the machine's packages",
    "pip install --force-reinstall --no-deps opencv-python-headless": "needs an index of packages",
    "docker build --tag head-detection --build-arg "
    "TORCH_INDEX=https://download.pytorch.org/whl/cpu .": "needs Docker, and an index of packages",
    "docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 60 "
    "--publish 127.0.0.1:8000:8000 "
    "head-detection": "likewise",
    "python scripts/train.py --cfg configs/fast_gpu.yaml --device cuda": "needs a GPU",
}
"""Lines that are not typed, and why."""
SERVES: Final = "python scripts/serve.py"
"""Goes on until it is stopped. It is typed before all others, with a free port, which ``curl``
finds whatever port a line names, and stopped after them."""
WAITS_FOR: Final = {
    "my/train.json": "convert.py split",
    "my/val.json": "convert.py split",
    "scut/best.safetensors": "train.py --cfg configs/scut.yaml --set",
    "runs/train/mine": "train.py --data",
    "found/detections.json": "--output found --save",
    "answers/shards": "batch.py --source",
}
"""A block with these words begins when that with the others has ended: it reads its files."""
LEFT: Final = {
    "make demo": [
        "runs/demo/portrait.png",
        "runs/demo/heads-of-12-pixels.png",
        "runs/demo/walk/video/door.mp4",
    ],
    "make demo SOURCE=my/pictures": ["runs/demo/detections.json", "runs/demo/images/0000.jpg"],
    "head-detection test --source my": [
        "found/detections.json",
        "found/detections.csv",
        "found/images",
    ],
    "head-detection test --source door.mp4 --track": ["tracked/video/door.mp4", "tracked/mot.txt"],
    "--output followed": ["followed/video/door.mp4", "followed/mot.txt"],
    "--max-fps 5": ["part/detections.csv"],
    "train.py --cfg configs/scut.yaml --set": ["runs/train/scut/config.yaml"],
    "--resume runs/train/scut": ["runs/train/scut/best.safetensors", "runs/train/scut/curves.png"],
    "torchrun": ["runs/train/two/best.safetensors", "runs/train/two/last.safetensors"],
    "train.py --data": ["runs/train/mine/best.safetensors", "runs/train/mine/log.csv"],
    "--data my/val.json": ["runs/evaluate/scut-best-val/metrics.json"],
    "--data SCUT-HEAD": [
        "runs/evaluate/scut-best-test/plots",
        "runs/evaluate/scut-best-test/worst",
    ],
    "--detections theirs.json": ["runs/evaluate/theirs-test/metrics.json"],
    "--against nothing": ["runs/benchmark/fast/stages.png", "runs/benchmark/fast/report.txt"],
    "--input SCUT-HEAD --report": ["health/index.html"],
    "convert.py split": ["my/train.json", "my/val.json"],
    "--output fast.xml": ["fast.bin"],
    "--output fast-int8.xml": ["fast-int8.bin"],
    "format=blur": ["blurred.jpg"],
    "--engine openvino": ["runs/test/pictures-2/counts.csv", "runs/test/pictures-2/images"],
    'open("heads.csv", "w"': ["heads.csv"],
    "batch.py --source": ["answers/shards/shard-000000.parquet", "answers/summary.json"],
    "convert.py annotations --from coco": ["my-yolo/data.yaml", "my-yolo/labels"],
}
"""Files and folders that a page, or the command, says it writes. All that follows
``--output`` in a line is looked for without being named here."""


@dataclass(frozen=True)
class Block:
    """The lines of one code block, run one after another; Python and a preset are one line."""

    language: str
    lines: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    """Lines that stand in an earlier block too: it is waited for."""

    def has(self, words: str) -> bool:
        """Return whether one of the lines holds these words."""
        return any(words in line for line in self.lines)


def read_blocks(text: str) -> list[Block]:
    """Return the code blocks of a document, in its order."""
    blocks = []
    for language, content in FENCE.findall(text):
        lines = [content]
        if language == SHELL:
            joined = re.sub(r"\s*\\\n\s*", " ", content).splitlines()
            lines = [line.partition(" #")[0].strip() for line in joined]
        if language not in SHOWN:
            blocks.append(Block(language, tuple(line for line in lines if line)))
    return blocks


def read_notebook(text: str) -> Block:
    """Return the code cells, as one program."""
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return Block(PYTHON, ("\n".join("".join(cell["source"]) for cell in cells),))


def without_repeats(blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks with each line where it comes first, and nowhere if it is not typed."""
    seen: set[str] = set(UNTYPED)
    left = []
    for block in blocks:
        lines = tuple(line for line in block.lines if line not in seen)
        repeated = tuple(line for line in block.lines if line in seen and line not in UNTYPED)
        seen |= set(lines)
        if lines:
            left.append(Block(block.language, lines, repeated))
    return left


WRITTEN: Final = [
    *(block for path in PAGES for block in read_blocks(path.read_text(encoding="utf-8"))),
    read_notebook(NOTEBOOK.read_text(encoding="utf-8")),
]
BLOCKS: Final = without_repeats(WRITTEN)
LINES: Final = [line for block in BLOCKS for line in block.lines]


def needs_of(block: Block, blocks: list[Block]) -> list[Block]:
    """Return the blocks that this one waits for."""
    wanted = [need for words, need in WAITS_FOR.items() if block.has(words)]
    wanted += block.repeated
    if block.has(f"{COMMAND} ") and not block.has(INSTALLATION):
        wanted.append(INSTALLATION)
    return [other for other in blocks if other != block and any(map(other.has, wanted))]


def in_order_of_need(blocks: list[Block]) -> list[Block]:
    """Return the blocks so that each comes after those that it waits for.

    Among the others, those that are waited for come first, then the longest.
    """
    waited_for = [need for block in blocks for need in needs_of(block, blocks)]
    rest = sorted(blocks, key=lambda block: (block not in waited_for, -len(block.lines)))
    ordered: list[Block] = []
    while rest:
        ready = (b for b in rest if all(need in ordered for need in needs_of(b, blocks)))
        ordered.append(next(ready))
        rest.remove(ordered[-1])
    return ordered


def target_of(line: str) -> str:
    """Return the folder that a ``pip install`` fills.

    Each line has its own: pip empties a target that is there, under the feet of the lines that run
    beside it and import from it.
    """
    return f"installed-{zlib.crc32(line.encode()):08x}"


class Outcome(NamedTuple):
    """How a line ended."""

    exit_code: int
    output: str
    errors: str
    seconds: float


class Terminal:
    """Where a reader types: a shell, and a Python that need not import torch anew."""

    def __init__(self, folder: Path, environment: dict[str, str], transcript: Path) -> None:
        self._folder, self._environment, self._transcript = folder, environment, transcript
        self._python = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "warm_python.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def type(self, line: str, language: str = SHELL) -> Outcome:
        """Type one line and wait for its end; a preset becomes a file, which is used."""
        if language == PRESET and not line.startswith("weights:"):
            (self._folder / EXPERIMENT_FILE).write_text(line)
            return self.type(
                f"from head_detection import load_config; load_config({EXPERIMENT_FILE!r})", PYTHON
            )
        if language == PRESET:
            (self._folder / PRESET_FILE).write_text(line)
            return self.type(f"python scripts/test.py --source street.png --weights {PRESET_FILE}")
        typed = f"{line} {ADDED[line].typed}" if line in ADDED else line
        output, errors = (self._transcript.with_suffix(end) for end in (".out", ".err"))
        start = time.monotonic()
        if language == PYTHON:
            exit_code = self._run_python(["-c", typed], output, errors)
        elif typed.startswith("python ") and not OF_THE_SHELL & set(typed):
            exit_code = self._run_python(shlex.split(typed)[1:], output, errors)
        else:
            with output.open("w") as out, errors.open("w") as err:
                installed = self._transcript.parent / target_of(line)
                # Wheels of one folder are built in one place: one after the other.
                alone = INSTALLING if typed.startswith("pip ") else nullcontext()
                with alone:
                    exit_code = self._run_shell(typed, installed, out, err)
        seconds = time.monotonic() - start
        return Outcome(exit_code, output.read_text(), errors.read_text(), seconds)

    def _run_shell(self, line: str, installed: Path, out: TextIO, err: TextIO) -> int:
        return subprocess.run(
            ["bash", "-c", line], cwd=self._folder,
            env=self._environment | {"PIP_TARGET": str(installed)},
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            timeout=MAX_SECONDS, check=False,
        ).returncode  # fmt: skip

    def _run_python(self, arguments: list[str], output: Path, errors: Path) -> int:
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        command = {
            "arguments": arguments,
            "folder": str(self._folder),
            "output": str(output),
            "errors": str(errors),
            "seconds": MAX_SECONDS,
        }
        self._python.stdin.write(json.dumps(command) + "\n")
        self._python.stdin.flush()
        return int(self._python.stdout.readline())

    def close(self) -> None:
        """End its Python."""
        self._python.communicate()


@contextmanager
def open_terminals(folder: Path, programs: Path) -> Iterator[SimpleQueue[Terminal]]:
    """Give some terminals, for one line at a time each."""
    installed = programs / target_of(INSTALLATION)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {
        "PATH": os.pathsep.join((str(programs), str(installed / "bin"), os.environ["PATH"])),
        "PYTHONPATH": str(installed),
        "OMP_NUM_THREADS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # means that there is none
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    opened = [Terminal(folder, environment, programs / str(n)) for n in range(AT_ONCE)]
    terminals: SimpleQueue[Terminal] = SimpleQueue()
    for terminal in opened:
        terminals.put(terminal)
    try:
        yield terminals
    finally:
        for terminal in opened:
            terminal.close()


def type_all(blocks: list[Block], terminals: SimpleQueue[Terminal]) -> dict[str, Outcome]:
    """Type all lines of all blocks."""
    outcomes: dict[str, Outcome] = {}
    futures: dict[Block, Future[None]] = {}

    def work(block: Block, waited_for: list[Future[None]]) -> None:
        for future in waited_for:
            future.result()
        terminal = terminals.get()
        try:
            for line in block.lines:
                outcomes[line] = terminal.type(line, block.language)
        finally:
            terminals.put(terminal)

    with ThreadPoolExecutor(len(blocks)) as pool:
        for block in in_order_of_need(blocks):
            futures[block] = pool.submit(work, block, [futures[n] for n in needs_of(block, blocks)])
    for future in futures.values():
        future.result()
    return outcomes


@contextmanager
def serving(folder: Path, programs: Path) -> Iterator[list[Outcome]]:
    """Type the line that serves and lead ``curl`` to it; the list has its outcome at the end."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl, which the lines of docs/service.md are of")
    words = [sys.executable, *shlex.split(SERVES)[1:], "--port", "0"]
    ended: list[Outcome] = []
    start, errors = time.monotonic(), programs / "served.err"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=file, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[0].removeprefix("http://")
        # It answers 503 until its network is warm.
        patient = "--retry 60 --retry-delay 1 --retry-all-errors"
        write_program(programs / "curl", f"{curl} --connect-to ::{address} {patient}")
        try:
            yield ended
        finally:
            process.terminate()
            exit_code = process.wait(MAX_SECONDS)
    seconds = time.monotonic() - start
    ended.append(Outcome(exit_code, line, errors.read_text(), seconds))


def write_program(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the reader types; ``outcomes`` fills it."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def outcomes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """How each line ended; all of them have run."""
    programs = tmp_path_factory.mktemp("programs")
    python = shlex.quote(sys.executable)
    write_program(programs / "python", python)
    write_program(programs / "pip", f"{python} -m pip")
    write_program(programs / "torchrun", f"{python} -m torch.distributed.run")
    write_program(folder / ".venv" / "bin" / "python", python)
    with open_terminals(folder, programs) as terminals:
        terminal = terminals.get()
        filled = terminal.type(f"python {shlex.quote(str(ROOT / 'tests' / 'reader_folder.py'))} .")
        terminals.put(terminal)
        assert filled.exit_code == 0, filled.errors
        for stamp in ("core.done", "track.done"):
            (folder / ".venv" / stamp).touch()  # after what it is made of
        with serving(folder, programs) as served:
            ended = type_all([block for block in BLOCKS if not block.has(SERVES)], terminals)
        ended[SERVES] = served[0]
    for line, outcome in [("the folder", filled), *ended.items()]:
        print(f"{outcome.seconds:6.1f} s, exit code {outcome.exit_code}: {line[:90]!r}")  # noqa: T201
    return ended


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_a_page_works(line: str, outcomes: dict[str, Outcome], folder: Path) -> None:
    outcome = outcomes[line]
    assert outcome.exit_code == 0, f"{outcome.output}\n{outcome.errors}"
    for complaint in ("Traceback", "Warning", "WARNING"):
        assert complaint not in outcome.errors
    left = re.findall(r"--(?:output|report) ([^-\s]\S*)", line)
    left += [path for words, paths in LEFT.items() if words in line for path in paths]
    for path in left:
        assert (folder / path).exists(), f"{path} is not there\n{outcome.output}"


def test_the_pages_have_blocks_of_known_kinds_and_the_tables_speak_of_their_lines() -> None:
    assert {block.language for block in BLOCKS} == {SHELL, PYTHON, PRESET}
    assert len(set(LINES)) == len(LINES)
    assert set(ADDED) <= set(LINES)
    assert set(UNTYPED) <= {line for block in WRITTEN for line in block.lines}
    for words in (*READY, *LEFT, *WAITS_FOR, *WAITS_FOR.values()):
        assert any(words in line for line in LINES), f"no line has {words}"


def test_what_lines_print_is_what_the_folder_holds(outcomes: dict[str, Outcome]) -> None:
    def printed(words: str) -> str:
        return next(outcomes[line].output for line in LINES if words in line)

    assert re.search(r"^portrait +\d+ +1 +1 +1 +0$", printed("make demo"), re.MULTILINE)
    # Two rows of three people, then a portrait before them.
    shown = printed("from_weights()")
    assert re.match(r"6 heads in \d+x\d+ \[\[", shown)
    assert re.findall(r"^\d+$", shown, re.MULTILINE) == ["1", "6"]
    assert "pictures: 1, heads: 6" in printed("weights: fast.safetensors")
    records = [json.loads(line) for line in printed("--save lines").splitlines()]
    assert sorted(Path(record["file"]).name for record in records) == [
        f"{number:04d}.jpg" for number in range(10)
    ]
    # Four pictures to train on, two a step: five epochs as asked for, or the file's two.
    assert "done: 10 steps" in printed("training.epochs=5")
    assert "step 10 of 10" in printed("--resume")
    assert "2 process(es); step 0 of 4" in printed("torchrun")
    assert "5 pictures (83.3% of them, 80.0% asked for)" in printed("convert.py split")
    # Nine heads in four pictures; the old detector misses one in each of three: F1 = 2 6 / (6 + 9).
    compared = printed("--compare")
    assert re.search(r"^F1 +0\.8000 +1\.0000 +\+0\.2000 ", compared, re.MULTILINE)
    assert re.search(r"^count MAE +0\.7500 +0\.0000 +-0\.7500 ", compared, re.MULTILINE)
    assert "stored in runs/train/scut/best.safetensors" in printed(
        "scut/best.safetensors --data my/val.json --choose"
    )
    (sizes,) = re.findall(r"^sizes: (.*)$", printed("convert.py anchors"), re.MULTILINE)
    assert [len(level) for level in json.loads(sizes)] == [2, 2, 2, 2]
    assert "healthy" in printed("convert.py check").splitlines()
