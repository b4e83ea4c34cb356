"""Options for publishing counts while a command runs, to home automation and Prometheus.

Nothing here may import torch or another slow module, so that options are parsed quickly.
"""

import argparse
import codecs
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from head_detection.apps.command import UsageError
from head_detection.apps.service_options import port
from head_detection.files import is_unicode

if TYPE_CHECKING:
    from head_detection.pipeline.sources import Source
    from head_detection.results.prometheus import CameraState
    from head_detection.results.sink import Sink

PASSWORD_VARIABLE: Final = "MQTT_PASSWORD"  # noqa: S105 - its name
PLAIN_PORT: Final = 1883
ENCRYPTED_PORT: Final = 8883
"""Assigned to MQTT by IANA."""
USUAL_TOPIC: Final = "head-detection"
USUAL_HOST: Final = "127.0.0.1"


def add_publishing_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for an MQTT broker and for Prometheus."""
    told = parser.add_argument_group("counts for home automation and monitoring")
    told.add_argument(
        "--mqtt", metavar="HOST[:PORT]",
        help="publish the heads of each camera and zone to this broker as they change; Home "
        "Assistant discovers them",
    )  # fmt: skip
    told.add_argument("--mqtt-user", metavar="NAME", help="user name at the broker")
    told.add_argument(
        "--mqtt-password-file", type=Path, metavar="FILE",
        help=f"file with the password (default: the variable {PASSWORD_VARIABLE})",
    )  # fmt: skip
    told.add_argument(
        "--mqtt-tls", action="store_true",
        help=f"encrypt, and check the broker's certificate; port {ENCRYPTED_PORT}",
    )  # fmt: skip
    told.add_argument(
        "--mqtt-topic", type=_topic, metavar="TOPIC",
        help=f"first part of all topics; each run needs its own (default: {USUAL_TOPIC})",
    )  # fmt: skip
    told.add_argument(
        "--metrics-port", type=port, metavar="N",
        help="serve the heads of each camera and zone to Prometheus at http://HOST:N/metrics",
    )  # fmt: skip
    told.add_argument(
        "--metrics-host", metavar="NAME",
        help="address for it; 0.0.0.0 lets other machines in (default: this machine only)",
    )  # fmt: skip


def publishers(arguments: argparse.Namespace, source: "Source") -> "tuple[Callable[[], Sink], ...]":
    """Return functions that create the publishing sinks.

    Raises:
        UsageError: options of MQTT without ``--mqtt``, or of metrics without their port; a file
            without a password; a text that is not UTF-8.
        OSError: the password file cannot be read.
    """
    makers: list[Callable[[], Sink]] = []
    if arguments.mqtt is not None:
        from head_detection.results.mqtt import Broker, MqttSink

        host, number = _host_of(arguments.mqtt, is_encrypted=arguments.mqtt_tls)
        broker = Broker(
            host, number, _checked("--mqtt-user", arguments.mqtt_user),
            _password(arguments.mqtt_password_file), arguments.mqtt_tls,
            arguments.mqtt_topic or USUAL_TOPIC,
        )  # fmt: skip
        makers.append(partial(MqttSink, broker))
    elif any(value for name, value in vars(arguments).items() if name.startswith("mqtt_")):
        raise UsageError(
            "--mqtt-user, --mqtt-password-file, --mqtt-tls, --mqtt-topic: expected --mqtt too; "
            "got none"
        )
    if arguments.metrics_port is not None:
        from head_detection.results.prometheus import PrometheusSink

        at = (arguments.metrics_host or USUAL_HOST, arguments.metrics_port)
        makers.append(partial(PrometheusSink, *at, partial(_states_of, source)))
    elif arguments.metrics_host is not None:
        raise UsageError("--metrics-host: expected --metrics-port too; got none")
    return tuple(makers)


def _states_of(source: "Source") -> "Iterator[CameraState]":
    from head_detection.pipeline.cameras import Cameras
    from head_detection.results.prometheus import CameraState

    for name, rate, counts in source.measured() if isinstance(source, Cameras) else ():
        yield CameraState(name, rate, counts.latency, counts.dropped, counts.reconnects)


def _host_of(text: str, *, is_encrypted: bool) -> tuple[str, int]:
    """Read a broker's name or address, and its port.

    Example:
        >>> _host_of("broker.lan", is_encrypted=False), _host_of("[::1]:18", is_encrypted=True)
        (('broker.lan', 1883), ('::1', 18))
    """
    usual = ENCRYPTED_PORT if is_encrypted else PLAIN_PORT
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, number = text, ""
    host = host.removeprefix("[").removesuffix("]").strip()
    if not host or "/" in text or "@" in text:  # it may hold a password, so it is not repeated
        raise UsageError("--mqtt: expected HOST or HOST:PORT, such as broker.lan:1883")
    try:
        number_of_port = port(number, 1) if number else usual
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--mqtt: port: {error}") from error
    return host, number_of_port


def _topic(text: str) -> str:
    stands_for_others = bool(set(text) & set("+#\0"))
    if stands_for_others or not text.strip("/") or not is_unicode(text):
        raise argparse.ArgumentTypeError(f"expected words without + and #; got {text!r}")
    return text


def _password(path: Path | None) -> str | None:
    if path is None:
        return _checked(PASSWORD_VARIABLE, os.environ.get(PASSWORD_VARIABLE))
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # written by Windows editors
    line = next(iter(content.splitlines()), b"")
    if not line:
        raise UsageError(f"--mqtt-password-file: expected a password in the first line of {path}")
    return _checked("--mqtt-password-file", line.decode(errors="surrogateescape"))


def _checked(name: str, text: str | None) -> str | None:
    """Return a text, or None, unchanged; refuse one that MQTT cannot send, without repeating it."""
    if text is not None and not is_unicode(text):
        raise UsageError(f"{name}: expected UTF-8 text; got other bytes")
    return text
