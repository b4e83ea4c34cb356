"""Limits of a service, and who may use it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceSettings:
    """Limits of a service, and who may use it.

    Attributes:
        max_batch: most pictures in a batch; None for what suits the engine.
        max_delay: seconds that a picture waits for others of its shape.
        queue: most pictures that are admitted and not answered yet.
        deadline: most seconds from the complete request to its answer.
        body_seconds: most seconds to receive the body of a request, or to send an answer.
        max_bytes: most bytes in the body of a request with pictures.
        max_pixels: most pixels of a picture.
        max_files: most pictures in a request.
        max_videos: most videos that are admitted and not answered yet.
        max_video_bytes: most bytes in the body of a request with a video.
        max_video_seconds: longest part of a video that is processed, in seconds.
        max_video_frames: most frames of a video that are processed.
        video_deadline: most seconds from the complete video to its answer.
        keys: a request needs one of these; if there are none, everybody is let in.
        origins: ``https://host`` of other sites whose pages may use the service (CORS).
        allows_urls: whether to fetch pictures from public URLs that a request names.
        hosts: host names under which browsers may reach the service; None allows any.
    """

    max_batch: int | None = None
    max_delay: float = 0.01
    queue: int = 64
    deadline: float = 30.0
    body_seconds: float = 30.0
    max_bytes: int = 64 * 1024**2
    max_pixels: int = 64_000_000
    max_files: int = 16
    max_videos: int = 2
    max_video_bytes: int = 256 * 1024**2
    max_video_seconds: float = 120.0
    max_video_frames: int = 3600
    video_deadline: float = 300.0
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    allows_urls: bool = False
    hosts: tuple[str, ...] | None = None
