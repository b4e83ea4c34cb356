"""From a file to a detector: each kind of file, each engine, and the score threshold."""

import hashlib
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from head_detection.apps.demo import create_samples
from head_detection.errors import ConfigError, MissingPackageError, WeightsError
from head_detection.inference.backends import extras
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.graph import ExportRecord
from head_detection.inference.backends.openvino import from_onnx, write_openvino
from head_detection.inference.building import describe_weights
from head_detection.inference.detector import HeadDetector
from head_detection.inference.weights_files import sha256_of, weights_path
from head_detection.models.weights import (
    WeightsDescription,
    read_description,
    save_weights,
    store_operating_point,
    write_weights,
)

needs_export = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino")),
    reason="needs the export extra",
)
EXACT = {"device": "cpu", "precision": "fp32"}
AVERAGED = ["inference.views=[{scale: 1.5, mirrored: true, largest_head: 48.0}, {mirrored: true}]"]
LOWEST = 0.02
"""The shipped config's own ``suppression.score_threshold``, and ``evaluate``'s."""


@pytest.fixture
def path(build, tmp_path):
    """A tiny detector with the operating point .3, as a file."""
    tiny = build()
    description = WeightsDescription(network=tiny.config, inference=tiny.inference)
    save_weights(tmp_path / "tiny.safetensors", tiny.network, description)
    return tmp_path / "tiny.safetensors"


@needs_export
def test_int8_is_that_of_the_export_beside_the_weights(build, path, picture, message):
    export = path.with_name("tiny-int8.xml")
    assert "tiny-int8.xml; no such file: `export --weights" in message(path, precision="int8")
    tiny, description = build(), read_description(path)
    graph = from_onnx(to_onnx(tiny.network, tiny.config))
    record = ExportRecord(to="openvino", precision="int8", from_sha256=sha256_of(path))
    write_openvino(export, graph, description, record)
    preset = path.with_name("wary.yaml")
    preset.write_text("weights: tiny.safetensors\ninference: {score_threshold: 0.7}\nmetrics: {}\n")
    for file, threshold in ((path, 0.3), (preset, 0.7), (export, 0.3)):
        detector = HeadDetector.from_weights(file, precision="int8")
        assert (detector.origin["engine"], detector.origin["precision"]) == ("openvino", "int8")
        assert (detector.origin["weights"], detector.score_threshold) == (file.name, threshold)
        assert detector.origin["sha256"] == sha256_of(file)
        named = detector.origin.get("export"), detector.origin.get("export_sha256")
        assert named == ((None, None) if file == export else (export.name, sha256_of(export)))
        detector.detect([picture])
    assert HeadDetector.from_weights(path, precision="int8", engine="auto").origin["precision"]
    assert "int8 is for engine openvino; got onnx" in message(path, precision="int8", engine="onnx")
    store_operating_point(path, 0.6, {"validation": {"ap50": 0.9}})  # of the same tensors
    for file, threshold in ((path, 0.6), (preset, 0.7)):
        assert HeadDetector.from_weights(file, precision="int8").score_threshold == threshold
    others = build().network
    torch.nn.init.zeros_(next(others.parameters()))
    save_weights(path, others, description)  # of others, which say the same
    assert "--int8 --calibration DIR --output" in message(path, precision="int8")
    save_weights(path, tiny.network, description)
    other = record.model_copy(update={"from_sha256": "0" * 64})
    write_openvino(export, graph, description, other)
    assert "it is of other weights or precision" in message(path, precision="int8")


@pytest.fixture
def picture(draw_scene):
    return draw_scene(0)


def test_a_detector_from_a_file_needs_the_file_alone(build, path, picture):
    detector = HeadDetector.from_weights(path, **EXACT)
    assert detector.score_threshold == 0.3
    assert detector.origin == {
        "weights": "tiny.safetensors",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backbone": "mobilenet0.25",
        "engine": "torch",
        "precision": "fp32",
        "set": [],
    }
    assert HeadDetector.from_weights(path, score_threshold=0.9).score_threshold == 0.9
    (found,) = detector.detect([picture])
    with torch.no_grad():
        (expected,) = build().model([torch.from_numpy(picture).permute(2, 0, 1)])
    is_head = expected["scores"] >= 0.3
    assert 0 < len(found) == int(is_head.sum())
    np.testing.assert_allclose(found.boxes, expected["boxes"][is_head].numpy(), atol=1e-3)
    with pytest.raises(WeightsError, match="no such file"):
        HeadDetector.from_weights(path.with_name("gone.safetensors"))


def with_values(path, name, change):
    """Write weights whose one tensor is changed in place; return the file."""
    tensors, description = load_file(path), read_description(path)
    with torch.no_grad():
        change(tensors[name])
    changed = path.with_name("changed.safetensors")
    write_weights(changed, tensors, description)
    return changed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(path, message, value):
    name = "roi_heads.box_predictor.cls_score.bias"
    changed = with_values(path, name, lambda tensor: tensor[1].fill_(value))
    assert message(changed) == (
        f"{changed}: expected tensors of numbers; 1 with NaN or infinity: {name}: the training "
        "that made them went astray; use others"
    )


def test_finite_weights_that_make_no_numbers_are_refused(path, message):
    # The square root of a variance under 0 is no number.
    name = next(name for name in load_file(path) if name.endswith("running_var"))
    changed = with_values(path, name, lambda tensor: tensor.fill_(-1))
    assert "expected a network that answers with numbers; in fp32 it answers noise with NaN" in (
        message(changed, **EXACT)
    )


@needs_export
def test_an_exported_network_that_makes_no_numbers_is_refused(files, message):
    onnx = extras.import_extra("onnx")
    graph = onnx.load(files / "tiny.onnx")
    for values in graph.graph.initializer:
        if values.data_type == onnx.TensorProto.FLOAT and len(values.dims) > 1:
            values.CopyFrom(
                onnx.numpy_helper.from_array(np.full(values.dims, np.nan, "f4"), values.name)
            )
    onnx.save(graph, files / "tiny.onnx")
    assert "expected a network that answers with numbers" in message(files / "tiny.onnx")


def test_a_preset_is_its_file_viewed_otherwise(path, picture):
    preset = path.with_name("careful.yaml")
    preset.write_text("weights: tiny.safetensors\ninference: {score_threshold: 0.25}\n")
    detector = HeadDetector.from_weights(preset, **EXACT)
    assert detector.score_threshold == 0.25
    assert detector.origin["weights"] == "careful.yaml"
    (found,) = detector.detect([picture])
    (expected,) = HeadDetector.from_weights(path, score_threshold=0.25, **EXACT).detect([picture])
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_what_needs_no_training_may_be_set(path):
    override = "inference.resize.enlargement=2.0"
    detector = HeadDetector.from_weights(path, overrides=[override])
    assert detector.origin["set"] == [override]
    assert detector.engine.padded_sizes((60, 90)) == ((128, 192),)
    detector = HeadDetector.from_weights(path, overrides=["inference.score_threshold=0.7"])
    assert detector.score_threshold == 0.7


@pytest.mark.parametrize("override", ["training.epochs=3", "network.upscale=true", "upscale=true"])
def test_what_training_fixed_is_not_set(path, override):
    with pytest.raises(ConfigError, match=r"expected inference\.KEY=VALUE"):
        HeadDetector.from_weights(path, overrides=[override])


@pytest.fixture(scope="module")
def crowd():
    """The shipped samples' smallest heads: each view finds others, many with little certainty."""
    return next(s.pixels for s in create_samples() if s.name == "heads-of-12-pixels")


@pytest.mark.parametrize("name", ["fast", "accurate"])
def test_a_threshold_is_for_the_answer_and_not_for_its_parts(crowd, name):
    """A box that one view scores under it counts as what it is in the mean of all views.

    That holds for every engine: ``tests/apps/test_same_heads.py``.
    """
    low = HeadDetector.from_weights(name, score_threshold=LOWEST, **EXACT)
    (everything,) = low.detect([crowd])
    own = describe_weights(weights_path(name)).inference.score_threshold
    for asked, threshold in ((None, own), (0.8, 0.8)):
        high = HeadDetector.from_weights(name, score_threshold=asked, **EXACT)
        (found,) = high.detect([crowd])
        expected = everything.above(threshold)
        assert 0 < len(found) < len(everything)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.boxes, expected.boxes)


@pytest.mark.parametrize("views", [[], AVERAGED], ids=["one view", "averaged"])
def test_the_crowd_tells_a_threshold_of_the_parts_from_one_of_the_answer(crowd, views):
    """The picture shows what the test above is for: such a detector gives something else."""
    threshold = describe_weights(weights_path("fast")).inference.score_threshold
    parts = [*views, f"inference.suppression.score_threshold={threshold}"]
    (cut,) = HeadDetector.from_weights("fast", overrides=parts, **EXACT).detect([crowd])
    (found,) = HeadDetector.from_weights("fast", overrides=views, **EXACT).detect([crowd])
    assert not np.array_equal(cut.boxes, found.boxes)
    if views:  # heads are lost
        assert len(cut) < 0.9 * len(found)


@pytest.mark.parametrize(("asked", "threshold"), [(None, 0.3), (0.1, 0.1)])
def test_a_threshold_under_that_of_the_parts_reaches_them(path, picture, asked, threshold):
    strict = {**EXACT, "overrides": ["inference.suppression.score_threshold=0.9"]}
    (found,) = HeadDetector.from_weights(path, score_threshold=asked, **strict).detect([picture])
    plain = HeadDetector.from_weights(path, score_threshold=threshold, **EXACT)
    (expected,) = plain.detect([picture])
    assert len(found) > 0
    assert found.scores.min() < 0.9
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_a_compiled_network_is_asked_of_torch_and_not_of_onnx(path, picture, monkeypatch):
    asked = []

    def compile_nothing(function, *, dynamic):
        asked.append(dynamic)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    HeadDetector.from_weights(path, device="cpu", compile_network=True).detect([picture])
    assert asked == [False]
    with pytest.raises(ValueError, match="compile: expected engine torch or openvino; got onnx"):
        HeadDetector.from_weights(path, "onnx", compile_network=True)
    HeadDetector.from_weights(path, device="cpu", compile_network=None).detect([picture])
    assert asked == [False]  # only where that is soon done


@needs_export
def test_openvino_compiles_each_size_by_itself_where_it_may(path, picture):
    plain, sized = (
        HeadDetector.from_weights(path, "openvino", precision="fp32", compile_network=compiles)
        for compiles in (False, None)
    )
    assert plain(picture).boxes.shape == sized(picture).boxes.shape
    assert "_compile_sizes" not in plain.engine.model.network._dense.__qualname__
    assert "_compile_sizes" in sized.engine.model.network._dense.__qualname__


@needs_export
@pytest.mark.parametrize(
    ("name", "engine", "runs_with"),
    [
        ("tiny.safetensors", "onnx", "onnx"),
        ("tiny.safetensors", "openvino", "openvino"),
        ("tiny.onnx", None, "onnx"),
        ("tiny.onnx", "openvino", "openvino"),
        ("tiny.xml", None, "openvino"),
    ],
)
def test_every_file_and_engine_finds_the_same_heads(files, name, engine, runs_with):
    moved = files / "alone"
    moved.mkdir()
    for file in files.glob(Path(name).stem + ".*"):
        if file.suffix in (Path(name).suffix, {".xml": ".bin"}.get(Path(name).suffix)):
            shutil.copy(file, moved)
    picture = torch.randint(0, 256, (3, 75, 131), dtype=torch.uint8)
    before = sorted(moved.iterdir())
    detector = HeadDetector.from_weights(moved / name, engine, **EXACT)
    assert sorted(moved.iterdir()) == before
    assert detector.score_threshold == 0.3
    assert detector.origin["engine"] == runs_with
    assert detector.origin["precision"] == "fp32"
    assert detector.origin["backbone"] == "mobilenet0.25"
    (expected,) = HeadDetector.from_weights(files / "tiny.safetensors", **EXACT).detect([picture])
    (found,) = detector.detect([picture])
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@needs_export
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_shipped_heads_are_those_of_pytorch(crowd, engine):
    exact = HeadDetector.from_weights(**EXACT)
    other = HeadDetector.from_weights(engine=engine, **EXACT)
    assert (other.engine.name, other.engine.device) == (engine, "cpu")
    images = [crowd, crowd[:, ::-1].copy()]
    for came, expected in zip(other.detect(images, 2), exact.detect(images, 2), strict=True):
        assert len(came) == len(expected) > 10
        np.testing.assert_allclose(came.boxes, expected.boxes, atol=1e-2)
        np.testing.assert_allclose(came.scores, expected.scores, atol=1e-4)


@needs_export
def test_the_description_survives(files):
    expected = describe_weights(files / "tiny.safetensors")
    assert describe_weights(files / "tiny.onnx") == expected
    assert describe_weights(files / "tiny.xml") == expected


@needs_export
def test_the_digest_of_a_pair_is_of_both_files(files):
    both = (files / "tiny.xml").read_bytes() + (files / "tiny.bin").read_bytes()
    detector = HeadDetector.from_weights(files / "tiny.xml")
    assert detector.origin["sha256"] == hashlib.sha256(both).hexdigest()


@needs_export
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".safetensors"])
def test_a_suffix_may_be_in_capitals(files, suffix):
    file = files / f"tiny{suffix}"
    digest, description = sha256_of(file), describe_weights(file)
    loud = file.rename(file.with_suffix(suffix.upper()))
    assert (sha256_of(loud), describe_weights(loud)) == (digest, description)
    origin = HeadDetector.from_weights(loud, **EXACT).origin
    assert (origin["weights"], origin["sha256"]) == (f"tiny{suffix.upper()}", digest)


@needs_export
@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_what_the_engine_lacks_is_one_line(files, name, message):
    assert "runs on cpu; got 'cuda'" in message(files / name, device="cuda")
    assert "got 'fp16'" in message(files / name, precision="fp16")
    assert "tiny.onnx runs with onnx or openvino; got torch" in message(
        files / "tiny.onnx", engine="torch"
    )


@needs_export
@pytest.mark.parametrize(
    ("name", "engine", "package"),
    [
        ("tiny.safetensors", "onnx", "onnxruntime"),
        ("tiny.safetensors", "openvino", "openvino"),
        ("tiny.safetensors", "openvino", "onnx"),
        ("tiny.onnx", None, "onnx"),
        ("tiny.xml", None, "openvino"),
    ],
)
def test_a_missing_package_says_what_to_install(files, monkeypatch, name, engine, package):
    genuine = extras.import_module

    def without(wanted):
        if wanted == package:
            raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)
        return genuine(wanted)

    monkeypatch.setattr(extras, "import_module", without)
    with pytest.raises(MissingPackageError) as caught:
        HeadDetector.from_weights(files / name, engine)
    assert f"expected the package {package} for this" in str(caught.value)
    assert "pip install 'head-detection[export]'" in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_export
@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_what_an_export_fixed_is_not_set(files, name):
    with pytest.raises(ConfigError, match=r"expected inference\.KEY=VALUE"):
        HeadDetector.from_weights(files / name, overrides=["network.size_divisor=16"])
    override = "inference.resize.enlargement=2.0"
    detector = HeadDetector.from_weights(files / name, overrides=[override])
    assert detector.engine.padded_sizes((48, 64)) == ((96, 128),)
