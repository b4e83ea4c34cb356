"""The detector: backbone, proposals, heads, and the transform around them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

from head_detection.config import ModelConfig, override_model
from head_detection.errors import WeightsError
from head_detection.models.backbones import BackBoneWithFPN, create_backbone
from head_detection.models.candidates import ALL_HEADS, gather
from head_detection.models.coarse_look import CoarseLook
from head_detection.models.more_looks import Look, Sizes
from head_detection.models.network import DenseMaps, Network, Stage, untimed
from head_detection.models.roi_heads import HeadRoIHeads
from head_detection.models.rpn import HeadProposalNetwork
from head_detection.models.transform import GeneralizedRCNNTransform, Target
from head_detection.models.weights import WeightsDescription, fit, read_weights


class FasterRCNN(GeneralizedRCNN):
    """torchvision's two-stage detector with this project's parts.

    ``model(images, targets)`` gives a dict of losses in training; ``model(images)`` a list of
    ``{"boxes", "labels", "scores"}`` otherwise, boxes ``(N, 4)`` xyxy in original pixels, by
    falling score. Images are ``(3, H, W)`` each, uint8 or floating in 0..1.

    Source:
        Ren et al., Faster R-CNN, NeurIPS 2015, as torchvision builds it.
    """

    def __init__(self, backbone: BackBoneWithFPN, config: ModelConfig) -> None:
        super().__init__(
            backbone,
            HeadProposalNetwork(config, backbone.out_channels, len(backbone.strides)),
            HeadRoIHeads(config, backbone.out_channels, backbone.strides),
            GeneralizedRCNNTransform(config.resize),
        )
        self.config = config
        self.more_looks = nn.ModuleList(Look(look, config.resize) for look in config.more_looks)
        self.coarse_look = CoarseLook(
            config.coarse_look,
            config.resize.size_divisor,
            config.roi.nms_iou_threshold,
            config.roi.detections_per_image,
        )

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Target]:
        """Return the losses in training, the heads of each picture otherwise."""
        if not self.training:
            return self.detect(images)
        losses: dict[str, Tensor] = super().forward(images, targets)
        return losses

    def dense(self, images: Tensor) -> DenseMaps:
        """Return what the network says of every place of ``(B, 3, H, W)`` normalised pictures."""
        levels = list(self.backbone(images).values())
        objectness, deltas = self.rpn.head([self.rpn.upscale(level) for level in levels])
        features = tuple(self.roi_heads.upscale(level).float() for level in levels)
        return DenseMaps(features, tuple(objectness), tuple(deltas))

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        logits, deltas = self.roi_heads.score(pooled)
        return logits, deltas

    def detect(
        self, images: list[Tensor], network: Network | None = None, stage: Stage = untimed
    ) -> list[Target]:
        """Find the heads of each picture.

        Args:
            images: ``(3, H, W)`` each, uint8 or floating in 0..1.
            network: runs the parts that multiply; None is this model itself.
            stage: surrounds each of ``STAGES``.

        Returns:
            ``boxes`` ``(N, 4)`` xyxy in original pixels, ``labels`` and ``scores`` a picture, by
            falling score.
        """
        network = self if network is None else network
        with stage("resize"):
            batch, _ = self.transform(images)
        candidates = self._look(batch, network, stage)
        if self.more_looks:
            with stage("more looks"):
                candidates = self._look_again(images, candidates, batch.image_sizes, network)
        with stage("nms"):
            found: list[Target] = self.roi_heads.suppress(candidates)
        if self.config.coarse_look.enabled:
            with stage("coarse look"):
                found = self._look_coarsely(batch, candidates, found, network)
        originals = [(image.shape[-2], image.shape[-1]) for image in images]
        detections: list[Target] = self.transform.postprocess(found, batch.image_sizes, originals)
        return detections

    @property
    def transforms(self) -> list[GeneralizedRCNNTransform]:
        """How each look brings a picture to its pixels, the first look's first."""
        looks = cast("Iterable[Look]", self.more_looks)
        return [self.transform, *(look.transform for look in looks)]

    def _look_again(
        self, images: list[Tensor], first: list[Target], sizes: Sizes, network: Network
    ) -> list[Target]:
        """Return the first look's candidates and every further look's, in the first one's pixels.

        ``sizes`` are those of the pictures in the first look.
        """
        gathered = [[(ALL_HEADS, found)] for found in first]
        for look in cast("Iterable[Look]", self.more_looks):
            wanted = look.wanted(first)
            if not wanted:
                continue
            batch = look.prepare([images[at] for at in wanted])
            found = self._look(batch, network, untimed, look.leave_others)
            placed = look.place(found, batch.image_sizes, [sizes[at] for at in wanted])
            for at, more in zip(wanted, placed, strict=True):
                gathered[at].append((look.sizes, more))
        return [gather(parts) for parts in gathered]

    def _look_coarsely(
        self, batch: ImageList, candidates: list[Target], found: list[Target], network: Network
    ) -> list[Target]:
        """Return the heads found, and the very large ones of the pictures that may hold such."""
        wanted = self.coarse_look.wanted(batch, candidates)
        if not wanted:
            return found
        small = self.coarse_look.shrink(batch, wanted)
        coarse = self._look(small, network, untimed, self.coarse_look.leave_small)
        large = self.roi_heads.suppress(coarse)
        sizes = [batch.image_sizes[at] for at in wanted]
        joined = self.coarse_look.join([found[at] for at in wanted], large, sizes)
        both = dict(zip(wanted, joined, strict=True))
        return [both.get(at, own) for at, own in enumerate(found)]

    def _look(
        self,
        batch: ImageList,
        network: Network,
        stage: Stage,
        choose: Callable[[list[Tensor]], list[Tensor]] = list,
    ) -> list[Target]:
        """Return what may be a head in each picture, in the batch's pixels, not yet suppressed.

        ``choose`` tells the proposals that are looked at from the others.
        """
        sizes = batch.image_sizes
        with stage("dense"):
            maps = network.dense(batch.tensors)
        with stage("proposals"):
            proposals = choose(self.rpn.propose(maps.objectness, maps.deltas, batch))
        with stage("roi"):
            pooled = self.roi_heads.pool(maps.features, proposals, sizes)
            logits, deltas = network.score(pooled)
            candidates: list[Target] = self.roi_heads.candidates(logits, deltas, proposals, sizes)
            return candidates


def build_detector(config: ModelConfig) -> FasterRCNN:
    """Build the network that the config describes, in training mode.

    Raises:
        ValueError: parts that do not fit each other, or pretrained weights that do not fit.
    """
    return FasterRCNN(create_backbone(config.backbone), config)


def load_detector(
    path: str | Path, overrides: Sequence[str] = ()
) -> tuple[FasterRCNN, WeightsDescription]:
    """Build the network that a weights file describes and fill it: on CPU, in evaluation mode.

    Args:
        path: a ``.safetensors`` file of this project.
        overrides: ``model.key=value``, for what may change after training: how pictures are
            scaled, how many proposals and heads are kept, how they are suppressed. The
            description returned has them.

    Raises:
        WeightsError: no such file, another format, or tensors that do not fit. One line.
        ConfigError: an override of no field, or of one outside ``model``.
    """
    tensors, description = read_weights(path)
    if overrides:
        changed = override_model(description.model, overrides)
        description = description.model_copy(update={"model": changed})
    # The file holds the body too: nothing is to be fetched for it.
    backbone = description.network.backbone.model_copy(update={"pretrained": False})
    config = description.model.model_copy(update={"backbone": backbone})
    try:
        model = build_detector(config)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    fit(model, tensors, str(path))
    return model.eval(), description
