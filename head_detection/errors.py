"""What a user can get wrong: one class with its kinds. Texts are one line, facts and remedy.

A text says what was expected, what came and what to do; it names config keys, never the options of
a command: the commands know those.
"""

import re
import unicodedata
from typing import Final

_NO_LETTERS: Final = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's kinds of what is no letter: it tells a terminal what to do, is half of one, or none."""
_JOINERS: Final = "\u200c\u200d"
"""They hold letters of some scripts, and parts of an emoji, together."""

_USER_INFO: Final = re.compile(
    r"(?P<scheme>(?<!\w)[a-z][\w+.-]+:[/\\]+)?"
    r"(?<![^\s/\\'\"=(,;])(?!(?<![\w/\\])[a-z]:[/\\])"  # a word's beginning; no drive of Windows
    r"[^\s/\\:@'\"=(,;]*:(?![/\\]{2}|[/\\]*\*@)\S{0,999}@",
    re.IGNORECASE,
)
"""``user:password@``, also where the scheme before it is misspelt or missing. All to the last @ of
the word goes: a password may hold a / or an @ that should have been escaped."""

_NAMED: Final = re.compile(
    r"(?<![a-z])((?:pass|passwd|password|passphrase|pwd|token|apikey|secret|signature)=)"
    r"[^/&;?#\s'\"]+?(?=_[a-z]+=|[/&;?#\s'\"]|$)",
    re.IGNORECASE,
)
"""``passphrase=...``, as the query of an address has it, or the path of some cameras."""


def hide_passwords(text: str) -> str:
    """Return a text in which ``user:password@`` is a star, and the value of ``passphrase=``.

    All that is told goes through here: the errors below, and what a command prints.

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
    r"""Return text as a terminal may show it: what is no letter, a line's end too, as escapes.

    Names of files hold what others chose: a terminal would be led by it, a line be two.

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
    """A mistake of the user, whose text is one line for them; all others are faults of the code.

    What was typed may stand in it, an address too: no password of one does.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(hide_passwords(text))


class ConfigError(HeadDetectionError):
    """A mistake in an experiment file, in an override or in a file of zones."""


class PictureError(HeadDetectionError):
    """A picture that cannot be read."""


class PictureSizeError(PictureError):
    """A picture of more pixels than are read."""


class SourceError(HeadDetectionError):
    """A source that gives no pictures."""


class SoundError(SourceError):
    """A file of sound alone."""


class FrameSizeError(SourceError):
    """A video of larger frames than are read."""


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
    """An engine that is not there or does not take the file."""


class MissingPackageError(HeadDetectionError):
    """A package of an extra is not installed."""


class DeviceError(HeadDetectionError):
    """A device or precision that this machine does not have."""


class DeviceMemoryError(DeviceError):
    """A picture that the memory of the device does not hold."""


class ForkError(HeadDetectionError):
    """Something begun in one process that cannot go on in another, forked from it."""


class TrainingError(HeadDetectionError):
    """A run that cannot go on."""


class CheckpointError(HeadDetectionError):
    """A checkpoint that cannot be read or does not fit."""


class RunFolderError(HeadDetectionError):
    """A run folder that cannot be used."""


class EvaluationError(HeadDetectionError):
    """A mistake in what is to be measured."""


class ServingError(HeadDetectionError):
    """A service that cannot start."""


class BatchError(HeadDetectionError):
    """A job over very many pictures that cannot go on."""


class BenchmarkError(HeadDetectionError):
    """Something whose speed cannot be measured."""
