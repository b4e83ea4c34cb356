"""What ``convert`` can do, one kind a file: ``add_arguments(parser)`` and ``run(arguments)``."""
