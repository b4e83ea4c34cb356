import copy
import io
import pickle
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.errors import PictureError
from head_detection.inference.detector import HeadDetector
from head_detection.structures import Frame

HEAD = (10, 6, 18, 16)


def boxes(detections):
    return [tuple(box) for box in detections.boxes.tolist()]


def as_grey_16_bit(scene):
    levels = np.asarray(scene.convert("L")).astype(np.uint16) * 257
    return Image.fromarray(levels)


def with_alpha(scene):
    rgba = np.asarray(scene.convert("RGBA")).copy()
    rgba[:3, :, 3] = 0  # a transparent border is white, not a head
    rgba[:3, :, :3] = 0
    return Image.fromarray(rgba)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rgb.png", lambda scene: scene),
        ("rgb.jpg", lambda scene: scene),
        ("rgb.webp", lambda scene: scene),
        ("rgb.bmp", lambda scene: scene),
        ("rgb.tiff", lambda scene: scene),
        ("rgb.gif", lambda scene: scene),
        ("rgb.ppm", lambda scene: scene),
        ("grey.jpg", lambda scene: scene.convert("L")),
        ("grey.png", lambda scene: scene.convert("LA")),
        ("palette.png", lambda scene: scene.quantize(16)),
        ("one-bit.png", lambda scene: scene.convert("L").point(lambda v: 255 * (v > 99), "1")),
        ("16-bit.png", as_grey_16_bit),
        ("16-bit.tiff", as_grey_16_bit),
        ("cmyk.jpg", lambda scene: scene.convert("CMYK")),
        ("cmyk.tiff", lambda scene: scene.convert("CMYK")),
        ("alpha.png", with_alpha),
        ("alpha.webp", with_alpha),
        ("ycc.jpg", lambda scene: scene.convert("YCbCr")),
    ],
)
def test_every_format_and_mode_gives_the_heads_of_its_rgb_version(
    detector, scene, write, name, change
):
    options = {"quality": 100, "subsampling": 0} if name.endswith(".jpg") else {}
    path = write(name, change(scene), **options)
    with Image.open(path) as opened:
        found = detector.detect([path, opened, path.read_bytes()])
    for detections in found:
        assert detections.image_size == (24, 40)
        np.testing.assert_allclose(detections.boxes, [HEAD], atol=1.0)
    if name.startswith("rgb.p"):
        assert boxes(found[0]) == [HEAD]


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ],
)
def test_a_photo_on_its_side_is_put_upright(detector, scene, write, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write("turned.png", scene.transpose(turn), exif=exif)
    for detections in detector.detect([path, Image.open(path)]):
        assert detections.image_size == (24, 40)
        assert boxes(detections) == [HEAD]


def test_all_forms_of_a_picture_may_be_mixed(detector, scene, write):
    pixels = np.asarray(scene)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    found = detector.detect([write("a.png"), scene, pixels, tensor, tensor / 255])
    assert [boxes(detections) for detections in found] == [[HEAD]] * 5
    assert found[0].boxes.dtype == found[0].scores.dtype == np.float32


def test_no_pictures_and_no_heads(detector):
    assert detector.detect([]) == []
    (found,) = detector.detect([np.full((5, 7, 3), 255, np.uint8)])
    assert found.boxes.shape == (0, 4)
    assert found.image_size == (5, 7)


def test_a_batch_of_pictures_in_one_array_is_a_list_of_them(detector, scene):
    array = np.stack([np.asarray(scene)] * 3)
    assert len(detector.detect(array)) == 3


def test_heads_under_the_threshold_are_left_out(engine, scene):
    assert len(HeadDetector(engine, 0.75, {}).detect([scene])[0]) == 1
    assert len(HeadDetector(engine, 0.76, {}).detect([scene])[0]) == 0


def test_a_threshold_may_be_given_with_the_pictures(detector, scene):
    assert len(detector.detect([scene], score_threshold=0.75)[0]) == 1
    assert len(detector.detect([scene], score_threshold=0.76)[0]) == 0
    assert len(detector.detect([scene])[0]) == 1
    for wrong in (0.4, 1.1, float("nan")):  # the detector was built with 0.5
        with pytest.raises(ValueError, match=r"expected 0\.5, the lowest .* to 1; got"):
            detector.detect([scene], score_threshold=wrong)


def test_less_likely_heads_can_be_asked_for(engine, scene):
    detector = HeadDetector(engine, 0.76, {}, lowest_score=0.5)
    assert len(detector.detect([scene])[0]) == 0
    assert len(detector.detect([scene], score_threshold=0.75)[0]) == 1
    assert HeadDetector(engine, 0.3, {}, lowest_score=0.5).lowest_score == 0.3


def test_one_picture_in_is_one_answer_out(detector, scene, write):
    path = write("scene.png")
    pixels = np.asarray(scene)
    for one in (path, str(path), path.read_bytes(), scene, Frame("f", 0, pixels=pixels), pixels):
        assert boxes(detector(one)) == [HEAD]
    assert [boxes(found) for found in detector([path, scene])] == [[HEAD]] * 2
    assert detector([]) == []
    assert len(detector(path, score_threshold=0.76)) == 0
    with pytest.raises(PictureError, match="gone"):
        detector("gone.jpg")


def test_colours_of_opencv_are_put_in_order(detector, write):
    red = Image.new("RGB", (4, 3), (200, 100, 0))
    pixels = np.asarray(red)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    given = [pixels[..., ::-1], tensor.flip(0), tensor.flip(0) / 255, red, write("red.png", red)]
    given.append(Frame("red", 0, pixels=pixels))
    for result in detector.stream(given, keep_pixels=True, color="bgr"):
        np.testing.assert_array_equal(result.pixels, pixels)
    (plain,) = detector.stream([pixels[..., ::-1]], keep_pixels=True)
    assert plain.pixels[0, 0].tolist() == [0, 100, 200]
    with pytest.raises(ValueError, match="color: expected rgb or bgr; got RGB"):
        detector.detect([pixels], color="RGB")


def test_frames_are_pictures(detector, scene):
    frame = Frame("clip.mp4", 7, 0.28, np.asarray(scene))
    (result,) = detector.stream([frame])
    assert result.image is frame
    assert boxes(result.detections) == [HEAD]
    with pytest.raises(PictureError, match=r"clip\.mp4: frame 8"):
        detector.detect([frame, Frame("clip.mp4", 8, 0.32)])
    with pytest.raises(TypeError, match="expected a list of pictures"):
        detector.detect(frame)


def test_a_camera_is_answered_frame_by_frame(detector, engine, scene):
    engine.batch_size = 8
    answered, shown = 0, []

    def camera():
        for index in range(5):
            shown.append(answered)  # before this frame is there
            yield Frame("camera", index, index / 25, np.asarray(scene))

    for result in detector.stream(camera(), is_ready=lambda: False):
        answered += 1
        assert boxes(result.detections) == [HEAD]
    assert shown == [0, 1, 2, 3, 4]


def test_a_bad_picture_is_raised_with_its_name(detector, scene, write, tmp_path):
    whole = write("whole.png").read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match=r"cut\.png: corrupt or truncated"):
        detector.detect([scene, cut, scene])


def huge_header():
    """A PNG of a few bytes that says it has 60000 x 60000 pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def test_bad_pictures_in_a_stream_do_not_stop_it(detector, scene, tmp_path):
    bad = {"empty.jpg": b"", "text.png": b"no picture", "huge.png": huge_header()}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    images = [scene, *(tmp_path / name for name in bad), tmp_path, tmp_path / "gone.png", scene]
    results = list(detector.stream(images))
    assert [result.error is None for result in results] == [True, *[False] * 5, True]
    lines = [str(result.error) for result in results[1:-1]]
    for line, part in zip(
        lines,
        ["the file is empty", "not a picture", "too many pixels", "this is none", "no such file"],
        strict=True,
    ):
        assert part in line
        assert "\n" not in line
    assert boxes(results[-1].detections) == [HEAD]


def test_a_stream_gives_the_pixels_when_asked(detector, scene):
    (result,) = detector.stream([scene], keep_pixels=True)
    np.testing.assert_array_equal(result.pixels, np.asarray(scene))
    (result,) = detector.stream([scene])
    assert result.pixels is None


def test_a_stream_may_be_without_end(detector, scene):
    def for_ever():
        while True:
            yield scene

    results = detector.stream(for_ever())
    assert [boxes(next(results).detections) for _ in range(5)] == [[HEAD]] * 5
    results.close()


@pytest.mark.parametrize("image", ["a.jpg", b"", np.zeros((4, 4, 3), np.uint8)])
def test_a_single_picture_in_place_of_a_list_is_told(detector, image):
    with pytest.raises(TypeError, match=r"write detector\(picture\) or detector"):
        detector.detect(image)


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (None, "got NoneType, which cv2.imread gives where it finds no picture file"),
        (0, "images: expected a picture or a list of them; got int"),
        ("in/a.mp4", r"got a video, 'in/a.mp4': write detector\.track\('in/a\.mp4'\)"),
        ("http://web/a.jpg", r"got an address, 'http://web/a.jpg': download .*detector\.track\("),
        ("rtsp://me:geheim@cam/a.mp4", r"write detector\.track\('rtsp://\*@cam/a\.mp4'\)"),
        (io.BytesIO(b"x"), r"got an open file: give its read\(\)"),
        ([None], "images.0.: expected a path, .*; got NoneType, which cv2.imread gives"),
    ],
)
def test_what_is_no_picture_is_told(detector, image, line):
    with pytest.raises(TypeError, match=line):
        detector(image)
    with pytest.raises(TypeError, match=line):
        detector.detect(image)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_an_array_in_grey_is_told_by_its_shape(detector, color):
    with pytest.raises(PictureError, match=r"got \(5, 4\) uint8; np\.stack\(\[grey\] \* 3"):
        detector(np.zeros((5, 4), np.uint8), color=color)


@pytest.mark.parametrize("send", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_detector_stays_in_its_process(detector, send):
    with pytest.raises(TypeError, match="build one in each process"):
        send(detector)


@pytest.mark.parametrize("form", [bytearray, memoryview])
def test_bytes_of_a_file_come_as_sockets_give_them(detector, scene, write, form):
    path = write("a.png", scene)
    content = form(path.read_bytes())
    assert boxes(detector(content)) == boxes(detector.detect([content])[0]) == boxes(detector(path))
    with pytest.raises(PictureError, match=r"^images\[0\]: not a picture"):
        detector(form(b"none"))


def test_wrong_numbers_are_told(detector, engine):
    with pytest.raises(ValueError, match="batch_size: expected 1 or more; got 0"):
        detector.detect([], batch_size=0)
    with pytest.raises(ValueError, match="score_threshold: expected 0 to 1; got 50"):
        HeadDetector(engine, 50, {})


def test_numbers_as_text_are_told(detector, engine, scene):
    for wrong, shown in (("0.5", "'0.5'"), ([0.5], r"\[0\.5\]"), (True, "True")):
        line = f"^score_threshold: expected a number from 0 to 1; got {shown}$"
        with pytest.raises(TypeError, match=line):
            detector.detect([scene], score_threshold=wrong)
        with pytest.raises(TypeError, match=line):
            HeadDetector(engine, wrong, {})
        with pytest.raises(TypeError, match=line):
            HeadDetector.from_weights("none.safetensors", score_threshold=wrong)
    with pytest.raises(TypeError, match=r"^lowest_score: expected a number from 0 to 1; got '0'$"):
        HeadDetector.from_weights("none.safetensors", lowest_score="0")
    with pytest.raises(ValueError, match=r"^lowest_score: expected 0 to 1; got -1$"):
        HeadDetector.from_weights("none.safetensors", lowest_score=-1)
    for wrong in ("8", 2.5, True):
        with pytest.raises(TypeError, match=f"^batch_size: expected a whole number; got {wrong!r}"):
            detector.detect([scene], batch_size=wrong)
    assert len(detector.detect([scene], np.int64(8), score_threshold=np.float32(0.75))[0]) == 1
    assert len(detector.detect([scene], score_threshold=1)[0]) == 0


def test_a_large_jpeg_decoded_small_gives_boxes_in_its_own_pixels(engine, tmp_path, monkeypatch):
    scene = Image.new("RGB", (800, 480), (240, 240, 240))
    scene.paste((20, 20, 20), (160, 80, 320, 320))
    scene.save(tmp_path / "large.jpg", quality=95)
    monkeypatch.setattr(engine, "enough_size", lambda size: (size[0] // 4, size[1] // 4))
    detector = HeadDetector(engine, 0.5, {})
    (found,) = detector.detect([tmp_path / "large.jpg"])
    assert engine.batches == [[(120, 200)]]
    assert found.image_size == (480, 800)
    np.testing.assert_allclose(found.boxes, [[160, 80, 320, 320]], atol=4)
    (drawn,) = detector.stream([tmp_path / "large.jpg"], keep_pixels=True)
    assert drawn.pixels.shape == (480, 800, 3)
