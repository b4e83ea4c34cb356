"""``counts.csv``: a line a picture, how many heads it has."""

from head_detection.results.csv import csv_lines
from head_detection.results.record import Failure, Record
from head_detection.results.sink import FileSink


class CountSink(FileSink):
    """``counts.csv``: ``file,count``, 0 for a picture without heads.

    A picture that could not be read has no number: it is not known to be empty.
    """

    file_name = "counts.csv"

    def fail(self, failure: Failure) -> None:
        """Add a picture without a number."""
        self._file.write(csv_lines([(failure.file, None)]))

    def _head(self) -> str:
        return csv_lines([("file", "count")])

    def _lines(self, record: Record) -> str:
        return csv_lines([(record.file, len(record.detections))])
