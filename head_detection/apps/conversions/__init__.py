"""The conversions of ``convert``, one per file: ``add_arguments(parser)``, ``run(arguments)``."""
