"""Addresses as users type them, lists of them, and what is never shown."""

from pathlib import Path

import pytest

from head_detection.errors import SourceError
from head_detection.pipeline.addresses import (
    MAX_LIST_BYTES,
    Address,
    distinct,
    parse_address,
    read_streams,
    shown_url,
    without_secrets,
)


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("rtsp://cam/1", "rtsp://cam/1", "cam-1"),
        ("rtsp://cam:554/a/b", "rtsp://cam:554/a/b", "cam-554-a-b"),
        ("rtsp://me:geheim@cam/1", "rtsp://cam/1", "cam-1"),
        ("http://me@cam/video?user=me&pwd=geheim", "http://cam/video", "cam-video"),
        ("rtsp://cam/user=me_password=geheim_channel=1", None, "cam-user-_password-_channel-1"),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234", "239.0.0.1-1234"),
        ("udp://:1234", "udp://:1234", "1234"),
        ("http://[::1]:80/live", "http://[::1]:80/live", "1-80-live"),
        ("srt://cam:9000?passphrase=geheim", "srt://cam:9000", "cam-9000"),
        ("http://cam/../../etc/x", None, "cam-..-..-etc-x"),
    ],
)
def test_names_and_messages_hold_nothing_secret(url: str, shown: str | None, name: str) -> None:
    address = parse_address(url)
    assert address.name == name
    assert address.url == url
    assert shown in (None, address.shown)
    for text in (address.name, address.shown, repr(address), str(address)):
        assert "geheim" not in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rstp://me:geheim@cam/1", "rstp://cam/1: expected a camera's number or an address"),
        ("file:///etc/passwd", "file:///etc/passwd: expected a camera's number"),
        ("rtsp://", "rtsp://: expected rtsp://host:port/path"),
        ("rtsp://me:geh/eim@cam/1", "rtsp://cam/1: expected rtsp://host:port/path"),
        ("http://cam:port/geheim x", "expected http://host:port/path, without blanks"),
        ("http://cam/\x00", "expected http://host:port/path"),
        ("-1", "-1: expected a camera's number"),
        ("9" * 5000, "expected a camera's number"),
        ("/dev/video0/../sda", "/dev/video0/../sda: expected a camera's number"),
        ("me:geheim@cam/1", "*@cam/1: expected a camera's number"),
        ("rtsp:/me:geh/e@im@cam/1", "rtsp:/*@cam/1: expected a camera's number"),
        ("rtsp//me:geheim@cam/1", "rtsp//*@cam/1: expected a camera's number"),
        ("rtsp:me:geh eim@cam/1", "*@cam/1: expected a camera's number"),
    ],
)
def test_what_is_no_address_is_one_line_without_its_password(text: str, line: str) -> None:
    with pytest.raises(SourceError) as error:
        parse_address(text)
    message = str(error.value)
    assert line in message
    assert message.isprintable()
    assert "me:" not in message
    assert "eim@" not in message


def test_a_camera_of_this_machine_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    address = parse_address("0")
    assert (address.name, address.url, address.device_format) == ("camera-0", "/dev/video0", "v4l2")
    assert parse_address("/dev/video0") == address
    by_id = parse_address("/dev/v4l/by-id/usb-Maker_Camera:1-video-index0")
    assert (by_id.name, by_id.device_format) == ("usb-Maker_Camera-1-video-index0", "v4l2")
    monkeypatch.setattr("sys.platform", "darwin")
    assert parse_address("1", "desk").url == "1:none"
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(SourceError, match="got a camera's number, which Windows"):
        parse_address("0")


def test_a_scheme_may_be_in_capitals() -> None:
    address = parse_address("RTSP://Me:Geh@Cam:554/Live")
    assert address.url == "rtsp://Me:Geh@Cam:554/Live"
    assert (address.shown, address.name) == ("rtsp://Cam:554/Live", "Cam-554-Live")


def test_messages_of_libraries_lose_what_is_secret() -> None:
    url = "rtsp://me:geh%40im@cam/1?token=abc"
    for text in (f"cannot open {url}", "login me:geh@im failed", "bad password geh%40im"):
        clean = without_secrets(text, url)
        assert "geh" not in clean
        assert "abc" not in clean
    assert without_secrets("Connection refused", "rtsp://cam/1") == "Connection refused"
    assert shown_url("rtsp://cam/a\x1b[31mb") == "rtsp://cam/a?[31mb"


def test_a_list_names_its_cameras(tmp_path: Path) -> None:
    path = tmp_path / "all.streams"
    path.write_text(
        "\ufeff# the house\n\n door = rtsp://me:geheim@cam/1 \r\n"
        "rtsp://cam/2?channel=1&name=x # the yard = back\n"
        "T\u00fcr #2=http://cam/3?a=b#part\t# side\n0  # desk = here\n"
    )
    found = read_streams(path)
    assert [address.name for address in found] == ["door", "cam-2", "T\u00fcr #2", "camera-0"]
    assert found[0].url == "rtsp://me:geheim@cam/1"
    assert found[1].url == "rtsp://cam/2?channel=1&name=x"
    assert found[2].url == "http://cam/3?a=b#part"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "expected a list of cameras, name=URL or URL a line; got none"),
        (b"# nothing\n", "a line; got none"),
        (
            b"door=rtsp://a/1\nDOOR=rtsp://a/2\n",
            "line 2: expected a name for each camera; got DOOR twice",
        ),
        (b"../door=rtsp://a/1\n", "line 1: expected a name of letters"),
        (b"=rtsp://a/1\n", "line 1: expected a name of letters"),
        (b"..=rtsp://a/1\n", "line 1: expected a name of letters"),
        (b"a\x1bb=rtsp://a/1\n", "line 1: expected a name of letters"),
        (b"x" * 101 + b"=rtsp://a/1\n", "line 1: expected a name of letters"),
        (b"ok=rtsp://a/1\nnonsense\n", "line 2: nonsense: expected a camera's number"),
        (b"a=/etc/passwd\n", "line 1: /etc/passwd: expected a camera's number"),
        (b"a=rtsp://me:geh/eim@cam\n", "line 1: rtsp://cam: expected"),
        (b"me:geheim@cam/1\n", "line 1: *@cam/1: expected a camera's number"),
        (b"a=rtsp:/me:geheim@cam/1\n", "line 1: rtsp:/*@cam/1: expected a camera's number"),
        (b"a=rtsp//me:geheim@cam/1\n", "line 1: rtsp//*@cam/1: expected a camera's number"),
        (b"me:geh eim@cam/1?a=b\n", "line 1: expected a name of letters"),
        (b"me:geheim" + b"x" * 200 + b"@cam?a=b\n", "line 1: expected a name of letters"),
        (b"\xff\xfe\x00", "in UTF-8; got another text at byte 0"),
        (b"#" * (MAX_LIST_BYTES + 1), "got more than 1,048,576 bytes"),
    ],
)
def test_a_hostile_list_is_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    path = tmp_path / "all.streams"
    path.write_bytes(content)
    with pytest.raises(SourceError) as error:
        read_streams(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert line in message
    assert message.isprintable()
    assert "geh" not in message


def test_cameras_of_one_name_get_names_of_their_own() -> None:
    twice = [parse_address("rtsp://cam/1?channel=1"), parse_address("rtsp://CAM/1?channel=2")]
    assert [address.name for address in distinct(twice)] == ["cam-1", "CAM-1-2"]
    assert distinct([Address("a", "x", "v4l2")])[0].device_format == "v4l2"
