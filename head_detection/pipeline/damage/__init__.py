"""What a video file lacks: followed from part to part, as its container lays them out."""
