"""The picture that an item stands for: a local file's path, or bytes from wherever they lie."""

from pathlib import Path

from head_detection.batch.items import Item
from head_detection.errors import PictureError
from head_detection.images.finding import PictureFile


class ItemReader:
    """Reads pictures of items; from several threads, and quickest in the order of the items.

    It keeps a Parquet file open, and where in it the last row was.
    """

    def read(self, item: Item) -> PictureFile | bytes:
        """Return a local file as such, for the detector to decode as much as it needs; else bytes.

        Raises:
            PictureError: the bytes cannot be read, or are too many. One line, begins with the name.
        """
        if item.problem:
            raise PictureError(f"{item.name}: {item.problem}")
        return PictureFile(Path(item.location), item.name)
