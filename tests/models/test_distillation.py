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


class Maps(torch.nn.Module):
    """A body that gives these maps of any picture."""

    def __init__(self, *maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def features(self, _images: torch.Tensor) -> list[torch.Tensor]:
        return list(self.maps)


def test_squares_are_divided_by_variances(images: torch.Tensor) -> None:
    """Two channels: 3 and 5, whose variance is 1, and twice 4; all four values have 0.5.

    The first map is 1 off everywhere: 1 / (1 + .005) and 1 / .005, whose mean is 100.4975; the
    second one is right, so with a weight of 3 it is 3 times half of that.
    """
    level = torch.tensor([[[[3.0, 5.0]], [[4.0, 4.0]]]])
    teacher = Teacher(Maps(level, level), weight=3.0)  # type: ignore[arg-type]
    loss = teacher.loss(images[:1], [level + 1, level])
    assert loss.item() == pytest.approx(3 * 100.4975 / 2, rel=1e-3)


def test_a_channel_that_is_dead_in_the_teacher_does_not_drown_the_others(
    images: torch.Tensor,
) -> None:
    """Of 64 channels one is 0; a tenth of a deviation off, it counts as 100 others, not 1000s."""
    level = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    level[:, 0] = 0
    off = torch.zeros_like(level)
    off[:, 0] = 0.1
    loss = Teacher(Maps(level)).loss(images, [level + off])  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(0.1**2 * 100 / 64, rel=0.1)
    flat = torch.full((1, 2, 1, 1), 5.0)
    alone = Teacher(Maps(flat)).loss(images[:1], [flat])  # type: ignore[arg-type]
    assert alone.item() == 0


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
