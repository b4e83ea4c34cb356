"""What is trained on and what is validated on."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field, model_validator

from head_detection.config.section import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
)


class DatasetConfig(Section):
    """One set of labelled pictures."""

    path: str
    """A file or folder of the format; relative to the working folder."""
    format: Literal[
        "coco",
        "voc",
        "scut",
        "crowdhuman",
        "crohd",
        "hollywood",
        "brainwash",
        "vscrowd",
        "headhunter",
        "yolo",
        "folder",
    ] = "coco"
    """Of the labels; ``folder`` has none."""
    images: str | None = None
    """Folder that the file's picture names start from; null is the format's own place."""
    split: str | None = None
    """train, val, trainval or test; null is train under ``data.train`` and val under
    ``data.validation`` where the set has such a part, and trainval, or all of it, elsewhere.
    ``voc`` takes any list's name and ``crohd`` any sub-folder's; ``coco``, ``headhunter`` and
    ``folder`` have no splits."""
    weight: PositiveFloat = 1.0
    """How many times a picture of this set is drawn in an epoch, on average."""


LABEL_FORMATS: Final[tuple[str, ...]] = get_args(DatasetConfig.model_fields["format"].annotation)
"""What ``format`` may be."""


class AugmentationConfig(Section):
    """Random changes of a training picture."""

    crop_size: PositiveInt | None = None
    """Side of a square zoom-crop in pixels; null trains on whole pictures."""
    zoom: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Range of the zoom before the crop, drawn evenly on a log scale."""
    min_head_size: NonNegativeFloat = 3.0
    """Heads under this size (square root of area, pixels after the zoom) become ignored."""
    min_visible: Probability = 0.4
    """Heads cut by the crop to less than this share become ignored."""
    flip_probability: Probability = 0.5
    """Of exchanging left and right."""
    brightness: NonNegativeFloat = 0.3
    """The factor is drawn from 1 less this to 1 plus this."""
    contrast: NonNegativeFloat = 0.3
    """Likewise."""
    saturation: NonNegativeFloat = 0.3
    """Likewise."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.03
    """Turns of the colour wheel at most, in either direction."""
    grayscale_probability: Probability = 0.05
    """Of a picture without colours."""
    blur_probability: Probability = 0.05
    """Of a slight Gaussian blur."""
    dark_probability: Probability = 0.0
    """Of values raised to a power, as in a film's night: light places stay light."""
    noise_probability: Probability = 0.0
    """Of noise, drawn for every value."""
    jpeg_probability: Probability = 0.0
    """Of what a JPEG file of low quality leaves of the picture."""

    @model_validator(mode="after")
    def _check(self) -> "AugmentationConfig":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom: expected the smaller value first")
        return self


class DataConfig(Section):
    """Training and validation pictures."""

    train: tuple[DatasetConfig, ...] = ()
    validation: tuple[DatasetConfig, ...] = ()
    allow_overlap: bool = False
    """Pictures may be both trained on and validated on; otherwise that is a mistake."""
    augmentation: AugmentationConfig = AugmentationConfig()
    workers: NonNegativeInt = 0
    """Loader processes; 0 decodes in threads beside the network."""
