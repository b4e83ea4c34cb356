"""What a service allows, and whom."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceSettings:
    """Limits of a service.

    Attributes:
        max_batch: pictures through the network at once, at most; None is what suits the engine.
        max_delay: seconds that a picture waits for others of its shape.
        queue: pictures taken in and not answered yet, at most.
        deadline: seconds from the whole request to its answer, at most.
        body_seconds: that the body of a request may take to come in, and an answer to go out.
        max_bytes: of a request's body.
        max_pixels: of a picture.
        max_files: pictures in a request.
        max_videos: taken in and not answered yet, at most.
        max_video_bytes: of a request with a video.
        max_video_seconds: of a video that are looked at.
        max_video_frames: likewise.
        video_deadline: seconds from the whole video to its answer, at most.
        keys: whoever has one of these is let in; none lets everybody in.
        origins: ``https://host`` of other sites whose pages may ask; their browsers are told so.
        allows_urls: pictures are fetched from public addresses that a request names.
        hosts: names under which browsers reach the service; None is any name.
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
