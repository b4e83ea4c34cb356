"""Opens the source that a user has typed."""

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from head_detection.errors import SourceError
from head_detection.images.finding import find_path
from head_detection.pipeline.addresses import (
    STREAMS_EXTENSION,
    Address,
    DeviceMode,
    is_camera,
    is_url,
    parse_address,
    read_streams,
    shown_url,
)
from head_detection.pipeline.images import (
    LIST_EXTENSIONS,
    open_file,
    open_folder,
    open_glob,
    open_paths,
    open_standard_input,
)
from head_detection.pipeline.sources import FrameOptions, ItemSource, Patience, Source

STANDARD_INPUT: Final = "-"


def open_source(
    source: str,
    *more: str,
    options: FrameOptions | None = None,
    patience: Patience | None = None,
    mode: DeviceMode | None = None,
) -> Source:
    """Open pictures and videos: a file, a folder, a glob, a list, or paths on standard input.

    Or a camera, a stream, or a ``.streams`` list of them, which start once they are read.

    Args:
        source: a path, a pattern, ``-``, the number of a camera or an address.
        more: further files and folders, as a shell expands a glob; or further addresses.
        options: which frames of videos and cameras are taken; None is all of them.
        patience: how long to wait for a camera.
        mode: what is requested from cameras of this machine; None leaves it to them.

    Raises:
        SourceError: nothing there, nothing found, or a kind of source that is not supported; a mode
            without a camera of this machine, or one that it does not have.
    """
    options = options or FrameOptions()
    addresses, name = _addresses_of(source, *more)
    if addresses:
        return _open_cameras(_in_mode(addresses, mode, source), options, patience, name)
    if mode is not None:
        raise _no_device(source)
    from head_detection.pipeline.files import MixedSource, open_video  # noqa: PLC0415 - FFmpeg

    if not more and source != STANDARD_INPUT:
        path = find_path(source)
        is_list = path.suffix.lower() in LIST_EXTENSIONS
        # Path's own raises without permission.
        if source and os.path.isfile(path) and not is_list:  # noqa: PTH113
            video = open_video(path, options)
            if video is not None and options.is_live:
                as_camera = [Address(path.name, str(path))]
                return _open_cameras(as_camera, options, patience, are_files=True)
            if video is not None:
                return video
    return MixedSource(_open_files(source, *more, with_videos=True), options)


def open_pictures(source: str, *more: str) -> ItemSource:
    """Open only pictures, as ``open_source`` does; videos are skipped.

    Raises:
        SourceError: nothing there, or nothing found.
    """
    return _open_files(source, *more, with_videos=False)


def _addresses_of(*sources: str) -> tuple[list[Address], str | None]:
    """Return cameras and streams, and their common name; no addresses if the sources are files.

    Raises:
        SourceError: a mistake in an address or in a list of them, or no such device.
    """
    lists = [_is_streams_list(source) for source in sources]
    if not any(lists) and not any(map(_is_address, sources)):
        return [], None
    addresses: list[Address] = []
    for source, is_list in zip(sources, lists, strict=True):
        addresses += _read_list(source) if is_list else [_parse_single(source)]
    if len(sources) > 1:
        return addresses, "cameras"
    return addresses, find_path(sources[0]).stem if lists[0] else None


def _is_streams_list(source: str) -> bool:
    path = find_path(source)
    # Path's own raises without permission.
    return path.suffix.lower() == STREAMS_EXTENSION and os.path.isfile(path)  # noqa: PTH113


def _read_list(source: str) -> list[Address]:
    path = find_path(source)
    listed = read_streams(path)
    for address in listed:
        _check_protocol(address, f"{path}: {address.name}: ")
    return listed


def _in_mode(
    addresses: Sequence[Address], mode: DeviceMode | None, source: str
) -> Sequence[Address]:
    """Request a size, a rate and a format from cameras of this machine; streams have their own.

    Raises:
        SourceError: there is no such camera, or it does not offer that.
    """
    if mode is None:
        return addresses
    if all(address.device_format is None for address in addresses):
        raise _no_device(source)
    from head_detection.pipeline.camera_opening import V4L2, check_mode  # noqa: PLC0415 - FFmpeg

    for address in addresses:
        if address.device_format == V4L2:
            check_mode(address.url, address.name, mode)
    return [
        address if address.device_format is None else replace(address, mode=mode)
        for address in addresses
    ]


def _no_device(source: str) -> SourceError:
    return SourceError(
        f"{shown_url(source)}: expected a camera of this machine, such as 0, because a size, a "
        "rate or a format was given; streams and files have their own"
    )


def _is_address(source: str) -> bool:
    """Tell a camera or a stream from files; a file whose name is a number is a file."""
    if is_url(source):
        return True
    path = find_path(source)
    return is_camera(source) and (path.is_absolute() or not os.path.lexists(path))


def _parse_single(source: str) -> Address:
    """Parse an address that was typed just now, whose camera must be there.

    Raises:
        SourceError: not an address, or no such device.
    """
    address = parse_address(source)
    _check_protocol(address)
    if address.device_format == "v4l2" and not os.path.lexists(address.url):
        raise SourceError(f"{shown_url(source)}: expected a camera at {address.url}; there is none")
    return address


def _open_files(source: str, *more: str, with_videos: bool) -> ItemSource:
    if more and STANDARD_INPUT in (source, *more) and not os.path.lexists(STANDARD_INPUT):
        raise SourceError(
            f"{STANDARD_INPUT}: expected alone, since it reads paths from standard input; got it "
            "beside other sources"
        )
    if more:
        paths = [path for text in (source, *more) for path in _matching(text)]
        return open_paths(paths, with_videos=with_videos)
    if source == STANDARD_INPUT:
        return open_standard_input(with_videos=with_videos)
    path = find_path(source)
    if source and os.path.isdir(path):  # noqa: PTH112 - Path's own raises without permission
        return open_folder(path, with_videos=with_videos)
    if source and (os.path.lexists(path) or _is_kept_from_us(path)):
        return open_file(path, with_videos=with_videos)
    if glob.has_magic(source):
        return open_glob(path, with_videos=with_videos)
    raise SourceError(
        f"{shown_url(source)!r}: expected a picture, a video, a folder, a glob, a text list or -; "
        "no such file"
    )


def _matching(text: str) -> list[str]:
    """Return what a pattern matches; a path that exists, or matches nothing, stays as it is."""
    path = find_path(text)
    if os.path.lexists(path) or not glob.has_magic(text):
        return [text]
    return sorted(glob.glob(str(path), recursive=True)) or [text]  # noqa: PTH207 - as it is typed


def _open_cameras(
    addresses: Sequence[Address],
    options: FrameOptions,
    patience: Patience | None,
    name: str | None = None,
    *,
    are_files: bool = False,
) -> Source:
    from head_detection.pipeline.cameras import Cameras  # noqa: PLC0415 - loads FFmpeg

    return Cameras(addresses, options, patience, name=name, are_files=are_files)


def _check_protocol(address: Address, where: str = "") -> None:
    """Refuse an address that no waiting would help to open.

    Raises:
        SourceError: it is one; one line, without secrets.
    """
    from head_detection.pipeline.srt import check_address  # noqa: PLC0415 - loads FFmpeg

    if address.scheme == "srt":
        try:
            check_address(address.url)
        except SourceError as error:
            raise SourceError(f"{where}{error}") from error


def _is_kept_from_us(path: Path) -> bool:
    """Tell whether a path leads through a folder that we may not enter: reading it says so."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
