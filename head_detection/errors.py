"""What a user can get wrong: one class with its kinds. Texts are one line, facts and remedy.

A text says what was expected, what came and what to do; it names config keys, never the options of
a command: the commands know those.
"""

import unicodedata
from typing import Final

_NO_LETTERS: Final = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
"""Unicode's kinds of what is no letter: it tells a terminal what to do, is half of one, or none."""
_JOINERS: Final = "\u200c\u200d"
"""They hold letters of some scripts, and parts of an emoji, together."""


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
    """A mistake of the user, whose text is one line for them; all others are faults of the code."""


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


class ExportError(HeadDetectionError):
    """A mistake in what is to be exported."""


class ServingError(HeadDetectionError):
    """A service that cannot start."""


class BatchError(HeadDetectionError):
    """A job over very many pictures that cannot go on."""


class BenchmarkError(HeadDetectionError):
    """Something whose speed cannot be measured."""
