"""``Found``: the heads of a picture for the user, to count, draw and save."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from head_detection.errors import PictureError
from head_detection.files import write_bytes
from head_detection.images.encoding import encode_picture
from head_detection.inference.loading import Color, ImageLike, LoadedPicture, load_pictures
from head_detection.structures import BOX_DECIMALS, SCORE_DECIMALS, Detections, rounded

if TYPE_CHECKING:
    import supervision as sv

    from head_detection.images.reading import Picture

DRAWN: Final = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, repr=False, eq=False)
class Found(Detections):
    """The heads of one picture, best first: ``len(found)`` of them.

    Attributes:
        path: the picture's file; None if the picture was not a file.

    Example:
        ```python
        found = detector("street.jpg")
        print(found)  # 12 heads in 640x480
        found.save("drawn.jpg")
        found.save("boxes.csv")
        ```
    """

    path: Path | None = None

    @classmethod
    def of(cls, detections: Detections, path: Path | None) -> Self:
        """Attach a file to detections."""
        values = {field.name: getattr(detections, field.name) for field in fields(Detections)}
        return cls(**values, path=path)

    def to_supervision(self) -> "sv.Detections":
        """Return them for supervision's annotators, zones and trackers; class 0 is a head."""
        import supervision as sv  # noqa: PLC0415 - slow to import, and needed only for drawing

        return sv.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=np.zeros(len(self), np.int64),
            tracker_id=self.ids,
        )

    def draw(self, image: ImageLike | None = None, *, color: Color = "rgb") -> "Picture":
        """Return the picture with a box around each head and their number in the corner.

        Args:
            image: the picture, in any form that ``detect`` takes and at any size; None reads the
                file again.
            color: order of the colours of an array or a tensor, and of the returned picture.

        Returns:
            ``(H, W, 3)`` uint8; small pictures are enlarged.

        Raises:
            PictureError: it cannot be read.
            ValueError: ``image`` is None and the heads were not found in a file.
        """
        from head_detection.images.heads import draw_heads  # noqa: PLC0415 - imports supervision

        image = self.path if image is None else image
        if image is None:
            raise ValueError("image: expected the picture, for the heads were not found in a file")
        pixels = _pixels_of(image, color)
        drawn = draw_heads(pixels, self.scaled_to((pixels.shape[0], pixels.shape[1])))
        return np.ascontiguousarray(drawn[..., ::-1]) if color == "bgr" else drawn

    def save(
        self, path: str | Path, image: ImageLike | None = None, *, color: Color = "rgb"
    ) -> Path:
        """Write the drawn picture or the boxes to a file, depending on its ending.

        ``.jpg``, ``.png`` and ``.webp`` hold the picture as ``draw`` returns it. ``.json`` holds
        width, height, count, boxes and scores (and ids and the note, if any), as ``test`` writes
        them for a picture. ``.csv`` has the columns x1, y1, x2, y2, score, and id if there are any.

        Args:
            path: an existing file is replaced; a missing folder is created.
            image: as ``draw``.
            color: as ``draw``.

        Returns:
            The path.

        Raises:
            ValueError: another ending, or as ``draw``.
            PictureError: as ``draw``.
        """
        path = Path(path)
        write = {".json": self._as_json, ".csv": self._as_csv}.get(path.suffix.lower())
        if write is None and path.suffix.lower() not in DRAWN:
            endings = ", ".join((*DRAWN, ".json", ".csv"))
            raise ValueError(f"path: expected an ending of {endings}; got {path.name}")
        write = write or self._as_picture(path.suffix.lower(), image, color)
        content = write()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
        return path

    def _as_picture(
        self, suffix: str, image: ImageLike | None, color: Color
    ) -> Callable[[], bytes]:
        def encode() -> bytes:
            drawn = self.draw(image, color=color)
            rgb = np.ascontiguousarray(drawn[..., ::-1]) if color == "bgr" else drawn
            return encode_picture(rgb, suffix)

        return encode

    def _as_json(self) -> bytes:
        height, width = self.image_size
        optional = {
            "ids": None if self.ids is None else self.ids.tolist(),
            "note": self.note,
        }
        values: dict[str, Any] = {
            **({} if self.path is None else {"file": self.path.name}),
            "width": width,
            "height": height,
            "count": len(self),
            "boxes": rounded(self.boxes, BOX_DECIMALS),
            "scores": rounded(self.scores, SCORE_DECIMALS),
            **{key: value for key, value in optional.items() if value is not None},
        }
        return (json.dumps(values, ensure_ascii=True) + "\n").encode()

    def _as_csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        ids = [] if self.ids is None else [self.ids.tolist()]
        writer.writerow(["x1", "y1", "x2", "y2", "score", *(["id"] if ids else [])])
        scores = rounded(self.scores, SCORE_DECIMALS)
        for box, *rest in zip(rounded(self.boxes, BOX_DECIMALS), scores, *ids, strict=True):
            writer.writerow([*box, *rest])
        return text.getvalue().encode()


def _pixels_of(image: ImageLike, color: Color) -> "Picture":
    loaded: LoadedPicture | None
    (loaded,) = load_pictures([image], color=color)
    if loaded is None or loaded.pixels is None:
        reason = None if loaded is None else loaded.error
        raise reason or PictureError("image: it could not be read")
    return loaded.pixels
