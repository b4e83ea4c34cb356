"""SRT addresses as written for ffmpeg: ``srt://host:port?passphrase=...&latency=200000``.

Source: FFmpeg's documentation of its protocols, section srt, for names and units of the options.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote_plus, urlsplit

from head_detection.errors import SourceError
from head_detection.pipeline.addresses import shown_url

SHORTEST_PASSPHRASE: Final = 10
LONGEST_PASSPHRASE: Final = 79
LONGEST_STREAM_ID: Final = 512
KEY_LENGTHS: Final = (0, 16, 24, 32)
"""Bytes; 0 is the other side's."""
SHORTEST_LATENCY: Final = 1000
"""Microseconds; a shorter one was meant in milliseconds."""
LONGEST_LATENCY: Final = 60_000_000
"""Microseconds; a longer one is a mistake, and would fill libsrt's memory."""
LATENCIES: Final = ("latency", "rcvlatency", "tsbpddelay")
"""Three names of the receiver's latency."""
PASSED_OVER: Final = frozenset({
    "timeout", "connect_timeout", "listen_timeout", "send_buffer_size", "recv_buffer_size",
    "pkt_size", "payload_size", "maxbw", "enforced_encryption", "kmrefreshrate", "kmpreannounce",
    "snddropdelay", "mss", "ffs", "ipttl", "iptos", "inputbw", "oheadbw", "peerlatency",
    "tlpktdrop", "nakreport", "sndbuf", "rcvbuf", "lossmaxttl", "minversion", "smoother",
    "messageapi", "linger", "tsbpd", "transtype",
})  # fmt: skip
"""ffmpeg's options for tuning or for senders, which are ignored; time limits are those of any
stream."""


@dataclass(frozen=True)
class SrtAddress:
    """Where a stream comes from, or where it is waited for.

    Attributes:
        host: a name or a number; empty for a listener on any address of this machine.
        port: its number.
        is_listener: whether the sender calls us.
        latency: microseconds in which lost packets may be sent again; None is libsrt's, .12 s. The
            sender may ask for more.
        key_length: bytes of the key; 0 is the other side's.
        passphrase: None is no encryption.
        stream_id: which stream of a server; None is the only one.
    """

    host: str
    port: int
    is_listener: bool = False
    latency: int | None = None
    key_length: int = 0
    passphrase: str | None = field(default=None, repr=False)
    stream_id: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse an address as written for ffmpeg.

        Raises:
            SourceError: no port, or an unknown option or value. One line, without secrets.

        Example:
            >>> SrtAddress.parse("srt://cam:9000?latency=200000&passphrase=open%20sesame")
            SrtAddress(host='cam', port=9000, is_listener=False, latency=200000, key_length=0)
        """
        parts = urlsplit(url.partition("?")[0])
        options = _options_of(url)
        host = parts.hostname or ""
        mode = options.get("mode", "caller" if host else "listener")
        if parts.port is None:
            raise _expected(url, "srt://host:port; got no port")
        if mode not in ("caller", "listener"):
            raise _expected(
                url, "mode=caller, which connects to the host, or mode=listener, which waits"
            )
        if mode == "caller" and not host:
            raise _expected(url, "srt://host:port; got no host")
        return cls(
            host,
            parts.port,
            mode == "listener",
            _latency_of(options, url),
            _key_length_of(options, url),
            _passphrase_of(options, url),
            _stream_id_of(options, url),
        )


def _options_of(url: str) -> dict[str, str]:
    """Return the options after the ``?``; a ``#`` is part of them, as in ffmpeg."""
    options = {}
    for text in filter(None, url.partition("?")[2].split("&")):
        name, _, value = text.partition("=")
        name = "streamid" if name == "srt_streamid" else name
        # An unknown option is not shown: it may be the rest of a passphrase with an & in it.
        if name not in ("mode", "passphrase", "pbkeylen", "streamid", *LATENCIES, *PASSED_OVER):
            raise _expected(
                url,
                "options of ffmpeg, joined by &: mode, passphrase, pbkeylen, streamid, latency; "
                "got another one (write & in a value as %26)",
            )
        options[name] = unquote_plus(value)
    return options


def _latency_of(options: Mapping[str, str], url: str) -> int | None:
    text = next((options[name] for name in LATENCIES if name in options), None)
    if text is None:
        return None
    # The length first: Python refuses to parse thousands of digits.
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LONGEST_LATENCY))
    if not is_number or not (SHORTEST_LATENCY <= int(text) <= LONGEST_LATENCY or int(text) == 0):
        raise _expected(
            url,
            "latency in microseconds, such as 200000 for .2 s, and at most 60 s",
        )
    return int(text)


def _key_length_of(options: Mapping[str, str], url: str) -> int:
    text = options.get("pbkeylen", "0")
    if text not in map(str, KEY_LENGTHS):
        raise _expected(url, "pbkeylen of 16, 24 or 32")
    return int(text)


def _passphrase_of(options: Mapping[str, str], url: str) -> str | None:
    text = options.get("passphrase", "")
    if text and not SHORTEST_PASSPHRASE <= len(text.encode()) <= LONGEST_PASSPHRASE:
        raise _expected(
            url,
            f"a passphrase of {SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} bytes; got "
            f"{len(text.encode())}",
        )
    return text or None


def _stream_id_of(options: Mapping[str, str], url: str) -> str | None:
    text = options.get("streamid", "")
    if len(text.encode()) > LONGEST_STREAM_ID:
        raise _expected(url, f"a streamid of at most {LONGEST_STREAM_ID} bytes")
    return text or None


def _expected(url: str, text: str) -> SourceError:
    return SourceError(f"{shown_url(url)}: expected {text}")
