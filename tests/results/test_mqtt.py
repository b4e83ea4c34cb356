"""Counts by MQTT: what a subscriber of a real broker sees, and when the broker goes and comes."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest

from head_detection.errors import OutputError
from head_detection.results.mqtt import Broker, MqttSink
from head_detection.results.record import Record
from head_detection.structures import Detections, RegionCount

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
SECONDS = 60
HALL = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))
DOOR = ((0.0, 0.0), (9.0, 9.0))


def until(is_so: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() < start + SECONDS
        time.sleep(0.01)


class Mosquitto:
    """A broker that lets in one user."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        passwords, self._config = folder / "passwords", folder / "mosquitto.conf"
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", passwords, "cameras", "secret"],
            check=True, capture_output=True,
        )  # fmt: skip
        passwords.chmod(0o644)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\n"
            f"password_file {passwords}\nuser root\n"
        )
        self.start()

    def start(self) -> None:
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def answers() -> bool:
            with socket.socket() as asked:
                return asked.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Subscriber:
    """Who hears all; ``seen`` has the last message of each topic."""

    def __init__(self, port: int) -> None:
        self.seen: dict[str, str] = {}
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.username_pw_set("cameras", "secret")
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.connect("127.0.0.1", port)

    def _hear(self, _client: Any, _data: Any, message: Any) -> None:
        self.seen[message.topic] = message.payload.decode()

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if PROGRAM is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("needs a broker: apt-get install mosquitto")
    started = Mosquitto(tmp_path)
    yield started
    started.stop()


def frame(index: int, heads: int, now: int, came: int) -> Record:
    regions = (RegionCount("hall", HALL, now, came, 0), RegionCount("door #1", DOOR, None, came, 1))
    boxes = [[0, 0, 9, 9]] * heads
    found = Detections.from_arrays(boxes, [0.9] * heads, (10, 10))
    return Record(index, "front", found, seconds=index / 10, source="front", regions=regions)


def test_home_assistant_hears_each_camera_and_zone(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("head_detection.results.mqtt.SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr("head_detection.results.mqtt.LONGEST_WAIT", 1)
    caplog.set_level("INFO")
    sink = MqttSink(Broker("127.0.0.1", broker.port, "cameras", "secret", topic="home/heads"))
    sink.write(frame(0, heads=2, now=1, came=1))
    with Subscriber(broker.port) as heard:
        seen = heard.seen
        until(lambda: seen.get("home/heads/front/hall/heads") == "1")
        sink.write(frame(1, heads=3, now=2, came=2))
        until(lambda: seen.get("home/heads/front/hall/in") == "2")
        until(lambda: seen.get("home/heads/front/door _1/in") == "2")
        assert {topic: value for topic, value in seen.items() if topic.startswith("home/")} == {
            "home/heads/available": "online",
            "home/heads/front/heads": "3",
            "home/heads/front/hall/heads": "2",
            "home/heads/front/hall/in": "2",
            "home/heads/front/hall/out": "0",
            "home/heads/front/door _1/in": "2",
            "home/heads/front/door _1/out": "1",
        }
        configs = {t: json.loads(v) for t, v in seen.items() if t.startswith("homeassistant/")}
        assert len(configs) == 6
        hall = next(c for c in configs.values() if c["state_topic"].endswith("hall/heads"))
        assert (hall["name"], hall["device"]["name"]) == ("hall heads", "front")
        assert (hall["state_class"], hall["unit_of_measurement"]) == ("measurement", "heads")
        assert hall["default_entity_id"] == "sensor.front_hall_heads"
        assert all("object_id" not in config for config in configs.values())
        assert hall["availability_topic"] == "home/heads/available"
        assert len({config["unique_id"] for config in configs.values()}) == 6
        assert len({config["device"]["identifiers"][0] for config in configs.values()}) == 1

        # The connection is cut: the will tells of it, and it comes back with what is true then.
        sink._client.socket().shutdown(socket.SHUT_RDWR)
        until(lambda: "lost" in caplog.text)
        sink.write(frame(2, heads=5, now=4, came=3))
        until(lambda: seen.get("home/heads/front/heads") == "5")
        until(lambda: seen.get("home/heads/available") == "online")
        sink.close()
        until(lambda: seen.get("home/heads/available") == "offline")
    assert "secret" not in caplog.text
    assert "secret" not in repr(sink._broker)


def test_a_broker_that_is_not_there_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        sink = MqttSink(Broker("127.0.0.1", nobody.getsockname()[1]))
        sink.write(frame(0, heads=2, now=1, came=1))
        until(lambda: "not there; tried again until it comes" in caplog.text)
        start = time.monotonic()
        sink.close()
        assert time.monotonic() - start < 10


def test_topics_are_words() -> None:
    with pytest.raises(OutputError, match="expected words without"):
        MqttSink(Broker("127.0.0.1", topic="all/#"))


def test_a_name_that_is_no_unicode_is_written_with_escapes() -> None:
    sink = MqttSink(Broker("127.0.0.1", 1))
    sink.write(Record(0, "\udcff.mp4", Detections.empty((9, 9)), seconds=0.0))
    (count,) = sink._counts.values()
    sink.close()
    assert count.topic == "head-detection/\\udcff.mp4/heads"
    assert count.config["device"]["name"] == "\\udcff.mp4"
