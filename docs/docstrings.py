"""What mkdocstrings is told of this package's docstrings, as an extension of Griffe."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Let a section ``Example:`` be one of doctests; Griffe knows the plural alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in the docstring of a class, function or module."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
