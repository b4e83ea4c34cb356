"""Who is told of counts: options, and where a password may stand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps.command import UsageError
from head_detection.apps.main import parse
from head_detection.apps.publishing_options import publishers
from head_detection.pipeline.sources import ItemSource
from head_detection.results import mqtt
from head_detection.results.formats import Sinks
from head_detection.results.record import Origin, Record
from head_detection.structures import Detections

SOURCE = ItemSource.of([])


def makers(*words: str) -> tuple[Callable[[], Any], ...]:
    arguments = parse(["test", "--source", "0", *words])
    return publishers(arguments, SOURCE)


def broker_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> mqtt.Broker:
    monkeypatch.setattr(mqtt, "MqttSink", lambda broker: broker)
    (make,) = makers(*words)
    broker = make()
    assert isinstance(broker, mqtt.Broker)
    return broker


def test_the_password_is_in_a_file_or_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MQTT_PASSWORD", raising=False)
    assert broker_of(monkeypatch, "--mqtt", "broker.lan") == mqtt.Broker("broker.lan")
    monkeypatch.setenv("MQTT_PASSWORD", "of the environment")
    broker = broker_of(monkeypatch, "--mqtt", "broker.lan:99", "--mqtt-user", "me", "--mqtt-tls")
    assert (broker.port, broker.user, broker.password) == (99, "me", "of the environment")
    assert broker.is_encrypted
    path = tmp_path / "password"
    path.write_text("of the file\n")
    words = ("--mqtt", "[::1]", "--mqtt-password-file", str(path), "--mqtt-topic", "home/heads")
    broker = broker_of(monkeypatch, *words)
    assert (broker.host, broker.password, broker.topic) == ("::1", "of the file", "home/heads")
    path.write_bytes("\ufeffdes Caf\u00e9s\r\nmore\r\n".encode())  # as Windows editors write it
    assert broker_of(monkeypatch, *words).password == "des Caf\u00e9s"  # noqa: S105 - made up
    path.write_text("\n")
    with pytest.raises(UsageError, match="expected a password in the first line"):
        makers(*words)
    path.write_bytes("des Caf\u00e9s\n".encode("latin-1"))
    with pytest.raises(UsageError, match="expected UTF-8 text; got other bytes"):
        makers(*words)


@pytest.mark.parametrize("topic", ["all/#", "+", "", "/", "\udcff"])
def test_a_topic_that_stands_for_others_is_told_by_its_option(
    topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        makers("--mqtt", "broker.lan", "--mqtt-topic", topic)
    assert "--mqtt-topic: expected words without + and #; got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--mqtt-user", "me"], "expected --mqtt too; got none"),
        (["--mqtt", "me:secret@broker"], "expected HOST or HOST:PORT"),
        (["--mqtt", "mqtt://broker"], "expected HOST or HOST:PORT"),
        (["--mqtt-topic", "home"], "expected --mqtt too; got none"),
        (["--mqtt", "broker", "--mqtt-user", "\udcff"], "--mqtt-user: expected UTF-8 text"),
        (["--mqtt", ""], "expected HOST or HOST:PORT"),
        (["--mqtt", ":1883"], "expected HOST or HOST:PORT"),
        (["--mqtt", "[]:1883"], "expected HOST or HOST:PORT"),
        (["--mqtt", "broker:99999"], "port: expected 1 to 65535"),
        (["--mqtt", "broker:0"], "port: expected 1 to 65535"),
        (["--metrics-host", "::1"], "expected --metrics-port too; got none"),
    ],
)
def test_mistakes_are_told(words: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        makers(*words)


def test_a_port_is_a_whole_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        makers("--metrics-port", "94.9")
    assert "--metrics-port: expected a whole number; got 94.9" in capsys.readouterr().err


def test_the_sinks_of_a_run_tell_others_too(tmp_path: Path) -> None:
    assert makers() == ()
    with Sinks((), tmp_path, Origin({}, 0.5), more=makers("--metrics-port", "0")) as sinks:
        (address,) = sinks.outputs
        assert address.startswith("http://127.0.0.1:")
        sinks.take(Record(0, "a.jpg", Detections.empty((9, 9))))
