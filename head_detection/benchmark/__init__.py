"""What ``benchmark`` measures: detectors and their baseline, stages, throughput and memory."""
