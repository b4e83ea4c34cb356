"""The mistakes that a user can make: one class and its kinds, each with a text of one line.

A text says what was expected, what came and what to do. It names config keys, not command options,
which only the commands know.
"""

import re
import unicodedata
from typing import Final

_NO_LETTERS: Final = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's categories of control and format characters, surrogates, unassigned code points, and
line and paragraph separators."""
_JOINERS: Final = "\u200c\u200d"
"""They join letters in some scripts, and the parts of an emoji."""

_USER_INFO: Final = re.compile(
    r"(?P<scheme>(?<!\w)[a-z][\w+.-]+:[/\\]+)?"
    r"(?<![^\s/\\'\"=(,;])(?!(?<![\w/\\])[a-z]:[/\\])"  # the start of a word; not a Windows drive
    r"[^\s/\\:@'\"=(,;]*:(?![/\\]{2}|[/\\]*\*@)\S{0,999}@",
    re.IGNORECASE,
)
"""``user:password@``, even if the scheme before it is misspelt or missing. It extends to the
last @ of the word, since a password may hold an unescaped / or @."""

_NAMED: Final = re.compile(
    r"(?<![a-z])((?:pass|passwd|password|passphrase|pwd|token|apikey|secret|signature)=)"
    r"[^/&;?#\s'\"]+?(?=_[a-z]+=|[/&;?#\s'\"]|$)",
    re.IGNORECASE,
)
"""``passphrase=...``, as in the query of an address, or in the path of some cameras."""


def hide_passwords(text: str) -> str:
    """Return a text with ``user:password@`` and values such as that of ``passphrase=`` starred out.

    All messages go through here: the errors below, and what a command prints.

    Example:
        >>> hide_passwords("line 1: door=me:secret@cam/1: expected an address")
        'line 1: door=*@cam/1: expected an address'
        >>> hide_passwords("rtsp:/me:se/cr@et@cam"), hide_passwords("ask me@home: now")
        ('rtsp:/*@cam', 'ask me@home: now')
        >>> hide_passwords("srt:/cam?passphrase=my_secret&mode=caller: no such file")
        'srt:/cam?passphrase=*&mode=caller: no such file'
    """
    text = _USER_INFO.sub(r"\g<scheme>*@", text) if "@" in text else text
    return _NAMED.sub(r"\1*", text) if "=" in text else text


def printable(text: str) -> str:
    r"""Return text that is safe in a terminal: control characters and line ends are escaped.

    File names are chosen by others: they could control the terminal, or break a line in two.

    Example:
        >>> print(printable(f"{chr(27)}[31m.jpg"))
        \x1b[31m.jpg
    """
    return "".join(
        repr(letter)[1:-1]
        if unicodedata.category(letter) in _NO_LETTERS and letter not in _JOINERS
        else letter
        for letter in text
    )


class HeadDetectionError(ValueError):
    """A mistake of the user, explained in one line; all other exceptions are faults of the code.

    The text may quote what was typed, such as an address, but passwords are hidden.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(hide_passwords(text))


class ConfigError(HeadDetectionError):
    """A mistake in an experiment file, in an override or in a file of zones."""


class PictureError(HeadDetectionError):
    """A picture that cannot be read."""


class PictureSizeError(PictureError):
    """A picture with more pixels than allowed."""


class SourceError(HeadDetectionError):
    """A source that gives no pictures."""


class SoundError(SourceError):
    """A file with sound only."""


class FrameSizeError(SourceError):
    """A video with larger frames than allowed."""


class OutputError(HeadDetectionError):
    """Results that cannot be written where they should."""


class AnnotationError(HeadDetectionError):
    """A labels file or folder that cannot be used."""


class AmbiguousNameError(HeadDetectionError):
    """A name that fits several pictures."""


class DetectionFileError(HeadDetectionError):
    """A file of detections that cannot be used."""


class WeightsError(HeadDetectionError):
    """A weights file that cannot be used."""


class EngineError(HeadDetectionError):
    """An engine that is not available or does not accept the file."""


class MissingPackageError(HeadDetectionError):
    """A package of an extra is not installed."""


class DeviceError(HeadDetectionError):
    """A device or precision that this machine does not have."""


class DeviceMemoryError(DeviceError):
    """A picture that does not fit into the memory of the device."""


class ForkError(HeadDetectionError):
    """Something started in one process that cannot continue in a process forked from it."""


class TrainingError(HeadDetectionError):
    """A training run that cannot start or continue."""


class CheckpointError(HeadDetectionError):
    """A checkpoint that cannot be read or does not fit."""


class RunFolderError(HeadDetectionError):
    """A run folder that cannot be used."""


class EvaluationError(HeadDetectionError):
    """A mistake in what is to be measured."""


class ServingError(HeadDetectionError):
    """A service that cannot start."""


class BatchError(HeadDetectionError):
    """A batch job that cannot start or continue."""


class BenchmarkError(HeadDetectionError):
    """Something whose speed cannot be measured."""
