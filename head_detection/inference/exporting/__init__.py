"""The parts of a network that multiply, as files of other libraries."""
