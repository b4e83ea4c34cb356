"""The work of a job by processes on the cores or the GPUs of this machine."""
