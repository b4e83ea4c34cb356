"""``serve``: detects heads over HTTP, for programs and for people with a browser."""

import argparse
from functools import partial
from importlib import import_module
from typing import Any, Final

from head_detection.apps.arguments import (
    add_engine_options,
    add_weights_option,
    check_detector_options,
    engine_options,
    not_negative,
    positive,
    probability,
)
from head_detection.apps.service_options import (
    add_limit_options,
    add_video_limits,
    port,
    read_keys,
)
from head_detection.errors import MissingPackageError
from head_detection.images.styles import HIDDEN_FROM

PACKAGES: Final = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="NAME",
        help="address to listen on; 0.0.0.0 lets other machines in (default: this machine only)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=port, default=8000, metavar="N",
        help="port to listen on; 0: any free port (default: 8000)",
    )  # fmt: skip
    add_weights_option(parser)
    parser.add_argument(
        "--score-threshold", "--conf", type=probability, metavar="X",
        help="leave out heads with a lower score, unless a request sets its own threshold "
        "(default: the weights' own)",
    )  # fmt: skip
    batches = parser.add_argument_group("batches")
    batches.add_argument(
        "--max-batch", type=positive, metavar="N",
        help="largest batch of pictures of similar shape (default: what suits the engine: 8 on a "
        "GPU; 1 on a CPU, where larger batches are no faster)",
    )  # fmt: skip
    batches.add_argument(
        "--max-delay", type=not_negative, default=10, metavar="MS",
        help="milliseconds that a picture waits for others to fill its batch (default: 10)",
    )  # fmt: skip
    batches.add_argument(
        "--queue", type=positive, default=64, metavar="N",
        help="pictures that may wait; further ones get 503 (default: 64)",
    )  # fmt: skip
    batches.add_argument(
        "--workers", type=positive, default=1, metavar="N",
        help="processes that share the port, each with its own network and queue (default: 1)",
    )  # fmt: skip
    add_limit_options(parser.add_argument_group("limits and access"))
    add_video_limits(parser.add_argument_group("videos"))
    add_engine_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer requests until the process is told to end; return 0.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
        OSError: the port is taken, or the file of keys cannot be read.
    """
    _check_packages()
    check_detector_options(arguments)
    keys = () if arguments.api_key_file is None else read_keys(arguments.api_key_file)
    from head_detection.devices import find_device
    from head_detection.inference.detector import HeadDetector
    from head_detection.serving.listening import hosts_for, open_socket
    from head_detection.serving.server import serve
    from head_detection.serving.settings import ServiceSettings

    find_device(arguments.device)  # before the port is taken
    build = partial(
        HeadDetector.from_weights,
        arguments.weights,
        score_threshold=arguments.score_threshold,
        lowest_score=HIDDEN_FROM,
        **engine_options(arguments),
    )
    hosts = hosts_for(arguments.host, arguments.allow_origin)
    settings = ServiceSettings(keys=keys, hosts=hosts, **_limits(arguments))
    with open_socket(arguments.host, arguments.port) as listener:
        number = listener.getsockname()[1]
        name = f"[{arguments.host}]" if ":" in arguments.host else arguments.host

        def announce() -> None:
            print(f"http://{name}:{number} (Ctrl-C ends it)", flush=True)

        serve(build, settings, listener, arguments.workers, announce)
    return 0


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    names = (
        *("max_batch", "queue", "deadline", "max_bytes", "max_pixels", "max_files", "max_videos"),
        *("max_video_bytes", "max_video_frames", "max_video_seconds", "video_deadline"),
    )
    return {
        **{name: getattr(arguments, name) for name in names},
        "max_delay": arguments.max_delay / 1000,
        "allows_urls": arguments.allow_url,
        "origins": tuple(arguments.allow_origin),
    }


def _check_packages() -> None:
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingPackageError(
                f"expected the package {name} for this; it is not installed ({error}): "
                "pip install 'head-detection[serve]'"
            ) from error
