"""What a body learns from a teacher, by hand."""

import pytest
import torch

from head_detection.config import BackboneConfig
from head_detection.models.backbones import BackBoneWithFPN, create_backbone
from head_detection.models.distillation import Teacher

LITE = {"name": "tf_efficientnet_lite0", "fpn_width": 8}


def backbone(**values: object) -> BackBoneWithFPN:
    torch.manual_seed(0)
    return create_backbone(BackboneConfig.model_validate({**LITE, **values}))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(backbone(), weight=3.0)


def test_a_body_that_computes_the_same_has_nothing_to_learn(
    teacher: Teacher, images: torch.Tensor
) -> None:
    assert teacher.loss(images, backbone().eval().features(images)).item() == 0


def test_maps_that_are_a_deviation_off_lose_the_weight(
    teacher: Teacher, images: torch.Tensor
) -> None:
    """One deviation off, everywhere: a squared difference of 1 in each map, three times as much."""
    wanted = teacher.backbone.features(images)
    off = [level + level.std((0, 2, 3), correction=0, keepdim=True) + 1e-3 for level in wanted]
    assert teacher.loss(images, off).item() == pytest.approx(3.0, rel=1e-4)
    one_off = [off[0], *wanted[1:]]
    assert teacher.loss(images, one_off).item() == pytest.approx(3.0 / 4, rel=1e-4)


def test_a_smaller_body_learns_and_the_teacher_does_not(
    teacher: Teacher, images: torch.Tensor
) -> None:
    small = backbone(lite_expansion=4)
    teacher.check(small)
    before = [parameter.clone() for parameter in teacher.backbone.parameters()]
    optimizer = torch.optim.Adam(small.body.parameters(), 0.01)
    losses = []
    for _ in range(5):
        loss = teacher.loss(images, small.features(images))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(map(torch.equal, before, teacher.backbone.parameters()))
    assert not any(parameter.requires_grad for parameter in teacher.backbone.parameters())


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ({"name": "tf_efficientnet_lite2"}, "24 at stride 4, 48 at stride 8"),
        ({"strides": (8, 16, 32)}, "40 at stride 8, 112 at stride 16"),
    ],
)
def test_a_teacher_with_other_maps_is_one_clear_line(
    teacher: Teacher, values: dict[str, object], got: str
) -> None:
    with pytest.raises(ValueError, match=r"^training\.teacher: expected .* at stride 8, ") as error:
        Teacher(backbone(**values)).check(teacher.backbone)
    assert f"got {got}" in str(error.value)
    assert "\n" not in str(error.value)
