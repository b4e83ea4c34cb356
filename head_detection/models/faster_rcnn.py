"""The detector: transform, network and decoder, and the losses that train it."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from typing_extensions import TypeVar

from head_detection.config import (
    InferenceConfig,
    NetworkConfig,
    TrainingConfig,
    override_inference,
)
from head_detection.errors import WeightsError
from head_detection.models.backbones import BackBoneWithFPN
from head_detection.models.decoder import Decoder, build_decoder, build_limits
from head_detection.models.distillation import Teacher
from head_detection.models.losses import RoiLoss, RpnLoss, build_roi_loss, build_rpn_loss
from head_detection.models.network import DetectorNetwork, Network, build_network
from head_detection.models.nms import EMPTY
from head_detection.models.proposals import ProposalLimits, SizeRange, grids_of
from head_detection.models.roi_heads import RoILayers
from head_detection.models.rpn import RegionProposalLayers
from head_detection.models.stages import stage
from head_detection.models.streams import SideStreams, has_streams
from head_detection.models.suppression import Candidates, Heads
from head_detection.models.targets import Targets, collect_targets
from head_detection.models.transform import (
    GeneralizedRCNNTransform,
    build_resize,
    build_transform,
)
from head_detection.models.views import View, ViewCandidates, build_views, merge
from head_detection.models.weights import WeightsDescription, fit, read_weights

NetworkT = TypeVar("NetworkT", bound=DetectorNetwork, default=Network)
Target = dict[str, Tensor]
"""One picture's target or result, as torchvision's detectors take and return it."""


@dataclass(frozen=True)
class Losses:
    """The losses of both stages.

    Args:
        rpn: loss of the first stage; None if it does not learn.
        roi: loss of the second stage.
        proposals: limits of the boxes that the second stage samples from.
        teacher: what the body learns from, beside the labels.
    """

    rpn: RpnLoss | None
    roi: RoiLoss
    proposals: ProposalLimits
    teacher: Teacher | None = None


class FasterRCNN(GeneralizedRCNN, Generic[NetworkT]):
    """torchvision's two-stage detector with this project's parts.

    In training, ``model(images, targets)`` returns a dict of losses. Otherwise, ``model(images)``
    returns a list of ``{"boxes", "labels", "scores"}`` with boxes ``(N, 4)`` xyxy in original
    pixels, by descending score. Images are ``(3, H, W)`` each, uint8 or floating in 0..1.

    Args:
        transform: resizes, normalises and batches pictures.
        network: holds every trained tensor; a backend may replace it.
        decoder: turns the network's maps into heads.
        views: further views of a picture, after the first.
        largest_head: as ``views.merge``.
        losses: needed for training only.

    Source:
        Ren et al., Faster R-CNN, NeurIPS 2015, as torchvision builds it; network, losses and
        post-processing are three objects as in Carion et al., DETR, ECCV 2020.
    """

    def __init__(
        self,
        transform: GeneralizedRCNNTransform,
        network: NetworkT,
        decoder: Decoder,
        views: tuple[View, ...] = (),
        *,
        largest_head: float = torch.inf,
        losses: Losses | None = None,
    ) -> None:
        # Skip torchvision's constructor, which would register the network's parts a second time.
        nn.Module.__init__(self)
        self.transform, self.network, self.decoder = transform, network, decoder
        self.views, self.largest_head, self.losses = views, largest_head, losses

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[Target]:
        """Return the losses in training, the heads of each picture otherwise.

        Raises:
            ValueError: training without targets, or of a model that was built for inference only.
        """
        if self.training:
            return self.compute_losses(images, _checked(targets))
        heads = self.detect(images)
        if heads.is_settled is not None and not heads.is_settled:
            heads = self.detect(images, waits=True)
        return _as_dicts(heads)

    def detect(
        self, images: Sequence[Tensor], *, waits: bool | None = None, room: int = 1
    ) -> Heads:
        """Find the heads of each picture; on a GPU, without synchronising.

        Args:
            images: ``(3, H, W)`` each, uint8 or floating in 0..1.
            waits: overrides the decoder's; True may synchronise and always returns settled heads.
            room: as ``Decoder.with_room``.

        Returns:
            Boxes in original pixels; if ``is_settled`` is False, call again with ``waits=True``.
        """
        decoder = self.decoder if waits is None else replace(self.decoder, waits=waits)
        decoder = decoder if room == 1 else decoder.with_room(room)
        with stage("transform"):
            batch, _ = self.transform(images, dtype=self.network.dtype)
        device = batch.tensors.device
        if has_streams(device) and not decoder.may_wait_for(device):
            candidates = self._all_at_once(decoder, images, batch)
        else:
            first = self._candidates(decoder, batch)
            with stage("views"):
                candidates = self._with_views(decoder, images, batch, first)
        with stage("suppress"):
            heads = decoder.suppress(candidates)
            factors = self.transform.factors(batch.image_sizes, images, heads.boxes.device)
            return heads._replace(boxes=heads.boxes / factors.repeat(1, 2)[:, None])

    def compute_losses(
        self, images: Sequence[Tensor], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Return the losses, float32 scalars, by torchvision's names.

        A ``losses.teacher`` adds ``loss_distillation``.

        Args:
            images: ``(3, H, W)`` each, uint8 or floating in 0..1.
            targets: per picture ``boxes`` and optionally ``ignore_boxes``.

        Raises:
            ValueError: the model was built for inference only, or a picture has no ``boxes``.
        """
        if self.losses is None:
            raise ValueError("model: expected one built for training; this one has no losses")
        batch, scaled = self.transform(images, collect_targets(targets))
        scaled_targets = cast("Targets", scaled)
        first, teacher = self.losses.rpn, self.losses.teacher
        nothing = batch.tensors.new_zeros((), dtype=torch.float32)
        losses = {"loss_objectness": nothing, "loss_rpn_box_reg": nothing}
        with nullcontext() if first is not None else torch.no_grad():
            features = self.backbone.features(batch.tensors)
            maps = cast("Network", self.network).dense_of(self.backbone.levels(features))
        if teacher is not None:
            losses["loss_distillation"] = teacher.loss(batch.tensors, features)
        size = _padded_size(batch)
        if first is not None:
            anchors = self.decoder.anchors.all(grids_of(maps), size, batch.tensors.device)
            losses |= first(anchors, *maps.in_anchor_order(), scaled_targets)
        proposals = self.decoder.propose(
            maps, size, batch.image_sizes, limits=self.losses.proposals
        )
        samples = self.losses.roi.sample(proposals.boxes, proposals.is_filled, scaled_targets)
        pooled = self.decoder.pool(maps.features, samples.boxes, None)
        return losses | self.losses.roi(*self.network.score(pooled), samples)

    def freeze_first_stage(self) -> None:
        """Let only the layers behind RoIAlign learn."""
        self.backbone.freeze(everything=True)
        self.rpn.requires_grad_(requires_grad=False)

    @property
    def transforms(self) -> list[GeneralizedRCNNTransform]:
        """The transform of each view, the first view's first."""
        return [self.transform, *(view.transform for view in self.views)]

    def _candidates(
        self, decoder: Decoder, batch: ImageList, sizes: SizeRange | None = None
    ) -> Candidates:
        """Return the candidates for heads in the batch's pixels, before suppression."""
        with stage("dense"):
            maps = self.network.dense(batch.tensors)
        with stage("proposals"):
            proposals = decoder.propose(maps, _padded_size(batch), batch.image_sizes, sizes=sizes)
        with stage("pool"):
            pooled = decoder.pool(maps.features, proposals.boxes, proposals.rows)
        with stage("score"):
            logits, deltas = self.network.score(pooled)
        return decoder.candidates(logits, deltas, proposals, batch.image_sizes)

    def _all_at_once(
        self, decoder: Decoder, images: Sequence[Tensor], batch: ImageList
    ) -> Candidates:
        """Return the candidates of all views, which a GPU computes beside each other.

        Which pictures need a view is not known without synchronising, so it is made of all.
        """
        views = [view for view in self.views if view.fits(batch)]
        with SideStreams(batch.tensors.device) as side:
            with stage("views"):
                found = [
                    side.run(partial(self._of_view, decoder, view, images, batch)) for view in views
                ]
            first = self._candidates(decoder, batch)
        with stage("views"):
            seen = [ViewCandidates(SizeRange(), first)]
            for view, own in zip(views, found, strict=True):
                wanted = view.is_wanted(first)
                seen.append(ViewCandidates(view.sizes, own, wanted, view.slack))
            return merge(seen, self.largest_head)

    def _of_view(
        self, decoder: Decoder, view: View, images: Sequence[Tensor], batch: ImageList
    ) -> Candidates:
        """Return the candidates of a further view, in pixels of the first."""
        view_batch = view.batch(images, batch)
        found = self._candidates(decoder, view_batch, view.proposal_sizes)
        placed = view.place(found.boxes, view_batch.image_sizes, batch.image_sizes)
        return found._replace(boxes=placed)

    def _with_views(
        self, decoder: Decoder, images: Sequence[Tensor], batch: ImageList, first: Candidates
    ) -> Candidates:
        """Return the candidates of all views, in the first one's pixels."""
        seen = [ViewCandidates(SizeRange(), first)]
        for view in self.views:
            if not view.fits(batch):
                continue
            is_made = view.is_wanted(first)
            chosen = decoder.chosen(is_made)
            if chosen is not None and not len(chosen):
                continue
            own_images, own_batch = _take(images, batch, chosen)
            found = self._of_view(decoder, view, own_images, own_batch)
            found = _put_back(found, chosen, len(images))
            seen.append(ViewCandidates(view.sizes, found, is_made, view.slack))
        return merge(seen, self.largest_head)

    # torchvision's names for the parts of the network.

    @property
    def backbone(self) -> BackBoneWithFPN:
        """Return the body with the pyramid."""
        return cast("Network", self.network).backbone

    @property
    def rpn(self) -> RegionProposalLayers:
        """Return the layers of the first stage."""
        return cast("Network", self.network).rpn

    @property
    def roi_heads(self) -> RoILayers:
        """Return the layers of the second stage."""
        return cast("Network", self.network).roi_heads


def build_detector(
    network: NetworkConfig, inference: InferenceConfig, training: TrainingConfig | None = None
) -> FasterRCNN:
    """Build the detector that the configs describe, in training mode.

    Args:
        network: determines the tensors.
        inference: determines everything around the network.
        training: None builds a detector that cannot be trained.

    Raises:
        ValueError: parts that do not fit each other, or pretrained weights that do not fit.
    """
    return assemble(build_network(network), network, inference, training)


def assemble(
    network: NetworkT,
    config: NetworkConfig,
    inference: InferenceConfig,
    training: TrainingConfig | None = None,
) -> FasterRCNN[NetworkT]:
    """Build the detector around an existing network or backend.

    Args:
        network: the network or a backend for it.
        config: the config that the network was built from.
        inference: as ``build_detector``.
        training: as ``build_detector``.
    """
    min_sizes = () if training is None else training.min_sizes or ()
    return FasterRCNN(
        build_transform(config, build_resize(inference.resize), min_sizes),
        network,
        build_decoder(config, inference),
        build_views(config, inference),
        largest_head=torch.inf if inference.largest_head is None else inference.largest_head,
        losses=None if training is None else _build_losses(training, inference),
    )


def _build_losses(training: TrainingConfig, inference: InferenceConfig) -> Losses:
    if training.trained == "second_stage":
        limits = build_limits(inference)
        return Losses(None, build_roi_loss(training.roi, adds_heads=False), limits)
    limits = ProposalLimits(
        training.rpn.pre_nms_top_n,
        training.rpn.post_nms_top_n,
        inference.proposals.nms_iou_threshold,
    )
    return Losses(build_rpn_loss(training.rpn), build_roi_loss(training.roi), limits)


def load_detector(
    path: str | Path, overrides: Sequence[str] = ()
) -> tuple[FasterRCNN, WeightsDescription]:
    """Build the detector that a weights file describes and load it, on CPU, in evaluation mode.

    Args:
        path: a ``.safetensors`` file of this project, or a preset beside one.
        overrides: ``inference.key=value``: how pictures are scaled and viewed, how many proposals
            and heads are kept, how they are suppressed. The returned description includes them.

    Raises:
        WeightsError: no such file, another format, or tensors that do not fit. One line.
        ConfigError: an override of a field that does not exist or is outside ``inference``.
    """
    tensors, description = read_weights(path)
    if overrides:
        changed = override_inference(description.inference, overrides)
        description = description.model_copy(update={"inference": changed})
    # The file includes the body, so nothing needs to be downloaded.
    backbone = description.network.backbone.model_copy(update={"pretrained": False})
    config = description.network.model_copy(update={"backbone": backbone})
    try:
        model = build_detector(config, description.inference)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    fit(model.network, tensors, str(path))
    return model.eval(), description


def _checked(targets: Sequence[Target] | None) -> Sequence[Target]:
    if targets is None:
        raise ValueError("targets: expected in training; got None")
    return targets


def _padded_size(batch: ImageList) -> tuple[int, int]:
    return batch.tensors.shape[2], batch.tensors.shape[3]


def _take(
    images: Sequence[Tensor], batch: ImageList, chosen: Sequence[int] | None
) -> tuple[Sequence[Tensor], ImageList]:
    """Return the chosen pictures of a batch; None means all."""
    if chosen is None or len(chosen) == len(images):
        return images, batch
    indices = torch.tensor(chosen, device=batch.tensors.device)
    sizes = [batch.image_sizes[at] for at in chosen]
    return [images[at] for at in chosen], ImageList(batch.tensors[indices], sizes)


def _put_back(found: Candidates, chosen: Sequence[int] | None, count: int) -> Candidates:
    """Return candidates for ``count`` pictures, with none for pictures that were not chosen."""
    if chosen is None or len(chosen) == count:
        return found
    indices = torch.tensor(chosen, device=found.scores.device)
    slots = found.scores.shape[1]
    boxes = found.boxes.new_zeros((count, slots, 4)).index_copy(0, indices, found.boxes)
    scores = found.scores.new_full((count, slots), EMPTY).index_copy(0, indices, found.scores)
    is_cut = found.is_cut
    if is_cut is not None:
        is_cut = torch.zeros(count, dtype=torch.bool).index_copy(0, indices.cpu(), is_cut)
    return found._replace(boxes=boxes, scores=scores, is_cut=is_cut)


def _as_dicts(heads: Heads) -> list[Target]:
    """Return torchvision's dict per picture, on the heads' device; it synchronises with a GPU."""
    is_head = heads.scores.detach().cpu().numpy() > EMPTY
    counts: list[int] = is_head.sum(axis=1).tolist()
    rows = torch.from_numpy(np.flatnonzero(is_head)).to(heads.scores.device)
    boxes = heads.boxes.flatten(0, 1).index_select(0, rows)
    scores = heads.scores.flatten().index_select(0, rows)
    labels = torch.ones_like(rows)
    parts = zip(boxes.split(counts), labels.split(counts), scores.split(counts), strict=True)
    return [dict(zip(("boxes", "labels", "scores"), part, strict=True)) for part in parts]
