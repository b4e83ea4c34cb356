"""MPEG transport streams: whether what a recording lacks was lost or never recorded."""

from typing import Final

import numpy as np

FORMAT: Final = "mpegts"
"""FFmpeg's name of it."""
SYNC: Final = 0x47
"""The first byte of each packet of a stream."""
LENGTHS: Final = (188, 192, 204)
"""Of a packet: as sent, after a time stamp (M2TS), and before a checksum."""
PES_START: Final = b"\0\0\1"
"""Beginning of the content of a picture's first packet."""


def is_damaged(content: np.ndarray, pid: int) -> bool:
    """Tell whether packets of a stream were overwritten.

    Args:
        content: ``(N,)`` uint8, from the first byte of a packet on.
        pid: of the pictures' packets.

    Source:
        ITU-T H.222.0 (MPEG-2 systems), 2.4.3.2: sync byte, payload_unit_start_indicator, PID and
        adaptation field of a packet; 2.4.3.6: the start code of a PES packet.

    Example:
        >>> packet = np.zeros(188, np.uint8)
        >>> packet[:8] = [0x47, 0x41, 0x00, 0x10, 0, 0, 1, 0xE0]  # a picture begins, PID 256
        >>> whole = np.tile(packet, 3)
        >>> is_damaged(whole, 256), is_damaged(np.where(whole == 1, 7, whole), 256)
        (False, True)
    """
    length = next((n for n in LENGTHS if n < len(content) and content[n] == SYNC), LENGTHS[0])
    packets = content[: len(content) // length * length].reshape(-1, length)
    if (packets[:, 0] != SYNC).any():
        return True
    pids = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
    begins = packets[(pids == pid) & (packets[:, 1] & 0x40 > 0)]
    for packet in begins:
        # A header of four bytes, then an adaptation field of any length if its bit is set.
        payload = 4 + (1 + int(packet[4]) if packet[3] & 0x20 else 0)
        if packet[payload : payload + len(PES_START)].tobytes() != PES_START:
            return True
    return False
