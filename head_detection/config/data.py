"""The data sets for training and validation, and the augmentation."""

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
    """The file or folder of labels, relative to the working folder."""
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
    """Format of the labels; ``folder`` has none."""
    images: str | None = None
    """Folder to which the picture names in the labels are relative; null is the usual place of the
    format."""
    split: str | None = None
    """train, val, trainval or test. Null is train under ``data.train`` and val under
    ``data.validation`` if the set has these parts; otherwise it is trainval, or the whole set.
    ``voc`` accepts the name of any list and ``crohd`` that of any sub-folder; ``coco``,
    ``headhunter`` and ``folder`` have no splits."""
    weight: PositiveFloat = 1.0
    """How often each picture of this set is drawn per epoch, on average."""


LABEL_FORMATS: Final[tuple[str, ...]] = get_args(DatasetConfig.model_fields["format"].annotation)
"""The allowed values of ``format``."""


class AugmentationConfig(Section):
    """Random changes to a training picture. Probabilities are per picture."""

    crop_size: PositiveInt | None = None
    """Side of a square zoom-crop in pixels; null trains on whole pictures."""
    zoom: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Range of the zoom before the crop, drawn uniformly on a log scale."""
    min_head_size: NonNegativeFloat = 3.0
    """Heads below this size (square root of area, in pixels after the zoom) are ignored."""
    min_visible: Probability = 0.4
    """Heads of which the crop leaves less than this share are ignored."""
    flip_probability: Probability = 0.5
    """Probability of a horizontal flip."""
    brightness: NonNegativeFloat = 0.3
    """The brightness factor is drawn from 1 - this to 1 + this."""
    contrast: NonNegativeFloat = 0.3
    """The same for the contrast."""
    saturation: NonNegativeFloat = 0.3
    """The same for the saturation."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.03
    """Largest shift of the hue in either direction, in turns of the colour wheel."""
    grayscale_probability: Probability = 0.05
    """Probability of a conversion to grey."""
    blur_probability: Probability = 0.05
    """Probability of a slight Gaussian blur."""
    dark_probability: Probability = 0.0
    """Probability of a gamma that darkens the picture like a night scene: highlights stay light."""
    noise_probability: Probability = 0.0
    """Probability of noise, drawn independently for every value."""
    jpeg_probability: Probability = 0.0
    """Probability of JPEG compression at low quality."""

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
    """Allow pictures in both training and validation; by default, that is an error."""
    augmentation: AugmentationConfig = AugmentationConfig()
    workers: NonNegativeInt = 0
    """Loader processes; 0 decodes in threads of the training process."""
