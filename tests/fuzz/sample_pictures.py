"""A small whole file of every format that is read, 64 x 40 pixels."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, features

SIZE = (64, 40)
"""Width and height; icons and PhotoCDs have sizes of their own."""


def sample_pictures() -> dict[str, bytes]:
    """Return the files by name."""
    return _written() | _made_by_hand()


def _written() -> dict[str, bytes]:
    """Return what Pillow writes, with metadata."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    pixels[8:30, 10:50] = (200, 30, 90)
    rgb = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    deep = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 16)
    palette, bits = rgb.quantize(16), rgb.convert("1")
    several = {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)]}
    kinds: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("plain.jpg", rgb, "JPEG", {"exif": exif}),
        ("progressive.jpg", rgb, "JPEG", {"progressive": True, "icc_profile": bytes(300)}),
        ("cmyk.jpg", rgb.convert("CMYK"), "JPEG", {}),
        ("two.mpo", rgb, "MPO", several),
        ("rgb.png", rgb, "PNG", {"exif": exif}),
        ("palette.png", palette, "PNG", {"transparency": 3}),
        ("deep.png", deep, "PNG", {}),
        ("moving.png", rgb, "PNG", several),
        ("lossy.webp", rgb, "WEBP", {"exif": exif}),
        ("lossless.webp", rgb, "WEBP", {"lossless": True}),
        ("moving.webp", rgb, "WEBP", several),
        ("plain.tif", rgb, "TIFF", {"exif": exif}),
        ("lzw.tif", rgb, "TIFF", {"compression": "tiff_lzw"}),
        ("jpeg.tif", rgb, "TIFF", {"compression": "jpeg"}),
        ("deep.tif", deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("float.tif", rgb.convert("F"), "TIFF", {}),
        ("still.gif", palette, "GIF", {}),
        ("moving.gif", palette, "GIF", several),
        ("rgb.bmp", rgb, "BMP", {}),
        ("palette.bmp", palette, "BMP", {}),
        ("rgb.dib", rgb, "DIB", {}),
        ("rgb.ppm", rgb, "PPM", {}),
        ("rgb.tga", rgb, "TGA", {"compression": "tga_rle"}),
        ("icon.ico", rgb, "ICO", {"sizes": [(48, 32)]}),
        ("rgb.qoi", rgb, "QOI", {}),
        ("dxt1.dds", rgb, "DDS", {"pixel_format": "DXT1"}),
        ("rgb.pcx", rgb, "PCX", {}),
        ("rgb.sgi", rgb, "SGI", {}),
        ("bits.msp", bits, "MSP", {}),
        ("bits.xbm", bits, "XBM", {}),
        ("palette.blp", palette, "BLP", {}),
    ]
    if features.check("jpg_2000"):
        kinds.append(("plain.jp2", rgb, "JPEG2000", {}))
    if features.check("avif"):
        kinds.append(("plain.avif", rgb, "AVIF", {"exif": exif}))
    return {name: _content(image, kind, options) for name, image, kind, options in kinds}


def _content(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _made_by_hand() -> dict[str, bytes]:
    """Return what Pillow reads and does not write: a header and plain pixels."""
    width, height = SIZE
    grey = bytes(range(256)) * (width * height // 256)
    bmp = _content(Image.new("RGB", (width, 2 * height)), "DIB", {})  # picture above its mask
    pcx = _content(Image.new("RGB", SIZE, (200, 30, 90)), "PCX", {})
    frame = struct.pack("<IHH8xIH", 22 + len(grey), 0xF1FA, 1, 6 + len(grey), 16) + grey
    pixar = bytearray(b"\x80\xe8\0\0".ljust(1024, b"\0"))
    struct.pack_into("<HH4xHH", pixar, 416, height, width, 14, 2)
    photo_cd = bytearray(96 * 2048 + 768 * 512 * 3 // 2)
    photo_cd[2048:2052] = b"PCD_"
    icon = _content(Image.new("RGB", (128, 128)), "PNG", {})
    im = f"Image type: Greyscale image\r\nImage size (x*y): {width}*{height}\r\n".encode()
    rows = "\n".join('"' + "ab" * (width // 2) + '",' for _ in range(height))
    return {
        "cursor.cur": struct.pack("<HHH8xII", 0, 2, 1, len(bmp), 22) + bmp,
        "rgb.dcx": struct.pack("<III", 0x3ADE68B1, 12, 0) + pcx,
        "grey.fli": struct.pack("<IHHHHHH112x", 128 + len(frame), 0xAF12, 1, width, height, 8, 3)
        + frame,
        "icon.icns": struct.pack(">4sI4sI", b"icns", 16 + len(icon), b"ic07", 8 + len(icon)) + icon,
        "rgb.ftu": struct.pack("<4s8i", b"FTEX", 0, width, height, 1, 1, 1, 32, 3 * len(grey))
        + grey * 3,
        "grey.gbr": struct.pack(">5I", 24, 1, width, height, 1) + b"big\0" + grey,
        "grey.im": im.ljust(511, b"\0") + b"\x1a" + grey,
        "rgb.pxr": bytes(pixar) + grey * 3,
        "photo.pcd": bytes(photo_cd),
        "rgb.psd": struct.pack(">4sH6xHIIHHIIIH", b"8BPS", 1, 3, height, width, 8, 3, 0, 0, 0, 0)
        + grey * 3,
        "grey.ras": struct.pack(">8I", 0x59A66A95, width, height, 8, len(grey), 1, 0, 0) + grey,
        "two.xpm": (
            f'/* XPM */\nstatic char *two[] = {{\n"{width} {height} 2 1",\n'
            f'"a c #c81e5a",\n"b c None",\n{rows}\n}};\n'
        ).encode(),
    }
