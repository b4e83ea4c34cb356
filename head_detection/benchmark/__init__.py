"""The measurements of ``benchmark``: detectors and their baseline, stages, throughput, memory."""
