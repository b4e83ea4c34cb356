"""Publishes counts of cameras and zones by MQTT; Home Assistant discovers them by itself.

Source:
    Discovery: Home Assistant, MQTT integration, https://www.home-assistant.io/integrations/mqtt/,
    read in November 2026: a retained ``homeassistant/sensor/NODE/OBJECT/config`` per sensor.
"""

import hashlib
import logging
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from head_detection.errors import MissingPackageError, OutputError
from head_detection.results.file_names import as_unicode
from head_detection.results.record import Record, dump_json
from head_detection.results.sink import Sink
from head_detection.version import __version__

DISCOVERY: Final = "homeassistant/sensor"
ONLINE, OFFLINE = "online", "offline"
FIRST_WAIT: Final = 1
LONGEST_WAIT: Final = 60
"""Seconds until the next try to reach a broker that is not there: the first and the longest."""
KEEP_ALIVE: Final = 30
"""Seconds; after one and a half times this long in silence, the broker publishes the last will."""
SHORTEST_SECONDS: Final = 1.0
"""Least time between two values of one count."""
CLOSING_SECONDS: Final = 2.0
"""Time to send the last values."""
MOST_COUNTS: Final = 1000
"""Most counts that are published; with more, as in a folder of videos, the first ones."""
_UNSAFE: Final = re.compile(r"[+#/\x00-\x1f\x7f]")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Broker:
    """The broker that values are sent to.

    Attributes:
        host: name or address.
        port: usually 1883, or 8883 with TLS.
        user: user name; None is without.
        password: sent only to the broker.
        is_encrypted: use TLS, and check the certificate.
        topic: prefix of all topics; each program that uses the broker needs its own.
    """

    host: str
    port: int = 1883
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False
    topic: str = "head-detection"


@dataclass
class _Count:
    """One number of a camera or of one of its regions."""

    topic: str
    config: dict[str, Any]
    value: int = 0
    sent: int | None = None
    sent_at: float = float("-inf")


class MqttSink(Sink):
    """Publishes the number of heads in each camera and zone, and of crossings of each line.

    ``TOPIC/CAMERA/heads``, ``TOPIC/CAMERA/REGION/heads`` (zones), ``/in`` and ``/out`` are plain
    numbers, retained, and sent when they change, at most once a second each. ``TOPIC/available`` is
    ``online``, and ``offline`` after the run, however it ends: this is the last will. A missing
    broker is retried forever and gets all values once it is there; nothing waits for it.

    Args:
        broker: the broker to publish to.

    Raises:
        MissingPackageError: paho-mqtt is not installed.
        OutputError: an invalid topic.
    """

    def __init__(self, broker: Broker) -> None:
        if not broker.topic.strip("/") or re.search(r"[+#\x00]", broker.topic):
            raise OutputError(f"topic: expected words without + and #; got {broker.topic!r}")
        self._broker, self._topic = broker, broker.topic.strip("/")
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()
        self._is_connected, self._told = False, ""
        self._client = _make_client(broker)
        self._client.will_set(f"{self._topic}/available", OFFLINE, qos=1, retain=True)
        self._client.reconnect_delay_set(FIRST_WAIT, LONGEST_WAIT)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(broker.host, broker.port, KEEP_ALIVE)
        self._client.loop_start()

    @property
    def output(self) -> str:
        """The broker and the topic."""
        return f"mqtt://{self._broker.host}:{self._broker.port}/{self._topic}"

    def write(self, record: Record) -> None:
        """Take a picture or a frame."""
        values: dict[tuple[str, str], int] = {("", "heads"): len(record.detections)}
        for region in record.regions or ():
            name = as_unicode(region.name)
            if region.now is not None:
                values[name, "heads"] = region.now
            values |= {(name, "in"): region.num_in, (name, "out"): region.num_out}
        with self._lock:
            for (name, kind), value in values.items():
                count = self._count_of(as_unicode(record.file), name, kind)
                if count is not None:
                    count.value = value
                    self._send(count)

    def close(self) -> None:
        """Send the last values, then ``offline``."""
        with self._lock:
            if self._is_connected:
                for count in self._counts.values():
                    self._send(count, is_last=True)
                last = self._publish("available", OFFLINE)
                try:
                    last.wait_for_publish(CLOSING_SECONDS)
                except (RuntimeError, ValueError):  # just lost: the last will announces the end
                    logger.debug("the broker left before the end")
        self._client.disconnect()
        self._client.loop_stop()
        # The client closes its sockets when it is freed: at once if nothing refers to it.
        client = self._client
        client.on_connect = client.on_connect_fail = client.on_disconnect = None

    def _count_of(self, source: str, region: str, kind: str) -> _Count | None:
        """Return a count; a new one is created and announced, unless there are too many: None."""
        levels = [level_of(name) for name in (source, region) if name]
        topic = "/".join((self._topic, *levels, kind))
        if topic not in self._counts and len(self._counts) < MOST_COUNTS:
            config = self._config(topic, source, region, kind)
            self._counts[topic] = count = _Count(topic, config)
            if self._is_connected:
                self._announce(count)
        return self._counts.get(topic)

    def _config(self, topic: str, source: str, region: str, kind: str) -> dict[str, Any]:
        """Return the discovery message of a count; each camera is a device."""
        key, device = _key_of(topic), _key_of(f"{self._topic}/{source}")
        name = "_".join([*map(_slug, filter(None, (source, region))), kind])
        return {
            "name": " ".join(filter(None, (region, kind))),
            "unique_id": key,
            "default_entity_id": f"sensor.{name}",  # object_id: not read since 2026.4
            "state_topic": topic,
            "availability_topic": f"{self._topic}/available",
            "unit_of_measurement": "heads",
            "state_class": "measurement" if kind == "heads" else "total_increasing",
            "icon": "mdi:account-group" if kind == "heads" else "mdi:account-arrow-right",
            "device": {
                "identifiers": [device],
                "name": source,
                "model": "head-detection",
                "sw_version": __version__,
            },
        }

    def _announce(self, count: _Count) -> None:
        node, key = _slug(self._topic), count.config["unique_id"]
        message = dump_json(count.config)
        self._client.publish(f"{DISCOVERY}/{node}/{key}/config", message, qos=1, retain=True)

    def _send(self, count: _Count, *, is_last: bool = False) -> None:
        now = time.monotonic()
        is_due = is_last or now - count.sent_at >= SHORTEST_SECONDS
        if self._is_connected and is_due and count.value != count.sent:
            self._client.publish(count.topic, str(count.value), qos=0, retain=True)
            count.sent, count.sent_at = count.value, now

    def _publish(self, level: str, value: str) -> Any:
        return self._client.publish(f"{self._topic}/{level}", value, qos=1, retain=True)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        if reason.is_failure:
            self._tell(f"refused: {reason}; tried again")
            return
        with self._lock:
            self._is_connected = True
            self._publish("available", ONLINE)
            for count in self._counts.values():
                self._announce(count)
                count.sent = None
                self._send(count, is_last=True)
        self._tell("connected")

    def _on_connect_fail(self, *_: Any) -> None:
        self._tell("not there; tried again until it comes")

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        with self._lock:
            was_connected, self._is_connected = self._is_connected, False
        if was_connected and reason.is_failure:
            self._tell(f"lost: {reason}; tried again until it comes")

    def _tell(self, text: str) -> None:
        """Log the state of the connection when it changes."""
        if text != self._told:
            self._told = text
            logger.info("mqtt %s:%d: %s", self._broker.host, self._broker.port, text)


def level_of(name: str) -> str:
    """Return a name as one level of a topic.

    Example:
        >>> level_of("hall/door #1"), level_of("$SYS")
        ('hall_door _1', '_SYS')
    """
    level = _UNSAFE.sub("_", name)
    return f"_{level[1:]}" if level.startswith("$") else level


def _slug(name: str) -> str:
    """Return a name with only the characters that Home Assistant allows in an id.

    Example:
        >>> _slug("Front door.mp4")
        'front_door_mp4'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "source"


def _key_of(topic: str) -> str:
    """Return a unique id for a topic."""
    return f"{_slug(topic)}_{hashlib.sha256(topic.encode()).hexdigest()[:8]}"


def _make_client(broker: Broker) -> Any:
    try:
        mqtt = import_module("paho.mqtt.client")
    except ImportError as error:
        raise MissingPackageError(
            f"expected the package paho-mqtt for this; it is not installed ({error}): "
            "pip install 'head-detection[mqtt]'"
        ) from error
    name = (
        f"{_slug(broker.topic)}-{_slug(socket.gethostname())}-{_key_of(str(time.time_ns()))[-8:]}"
    )
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name)
    if broker.user is not None or broker.password is not None:
        client.username_pw_set(broker.user or "", broker.password)
    if broker.is_encrypted:
        client.tls_set()
    return client
