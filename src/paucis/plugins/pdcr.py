"""PDCR: patch-dragsaw contrastive regularization of an encoder's layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paucis.batch import IGNORE, Task
from paucis.errors import PaucisError
from paucis.losses.patch_dragsaw import patch_affinity, patch_dragsaw
from paucis.methods.base import Aligned, Clock, Method
from paucis.networks.base import Network
from paucis.networks.receptive_field import Field, receptive_fields
from paucis.options import option
from paucis.plugins.base import Plugin, register
from paucis.plugins.vector_grid import vector_grid
from paucis.plugins.window_ratios import class_members, window_shares

Affinity = Literal["continuous", "constant", "diagonal", "bipartite"]


@dataclass(frozen=True)
class PdcrOptions:
    """Options of PDCR."""

    layers: tuple[str, ...] = option(
        ("encoder.1", "encoder.2", "encoder.3"), "sites of the encoder whose vectors are drawn together and apart"
    )
    vectors: tuple[int, ...] = option(
        (64,), "vectors sampled from a layer at most, on a grid: one for all layers, or one per layer", minimum=1
    )
    weight: float | None = option(
        None, "of the loss; none = 0.1 in 2D and 0.01 in 3D, as the published code", minimum=0.0
    )
    temperature: float | None = option(
        None, "of the similarities; none = 1 in 2D and 0.5 in 3D, as the published code", minimum=1e-3
    )
    affinity: Literal["continuous", "constant", "diagonal", "bipartite"] = option(
        "continuous",
        "of two vectors: by the classes in their fields (the method), always one half, 1 with itself only, or 1 where "
        "the centers of their fields have the same class (the paper's comparisons)",
    )


@register("pdcr")
class PDCR(Plugin):
    """Feature vectors whose patches hold the same classes attract each other, others repel (Eq. 3 to 7).

    The receptive fields of the chosen layers are found when training begins. In every step a grid of vectors is taken
    from each layer; the classes in their fields give the affinities, and the mean of the layers' losses is added. It
    has no parameters, changes no network and is gone at inference.

    Reference:
        patch-dragsaw contrastive regularization and uncertainty-aware feature selection (PDCR, UAFS), Section 3.

    Deviations:
        the mean over pairs instead of their sum; shares of classes are of the valid part of a field. The published
        2D code attracts unlike patches, samples the image's left border only, and looks labels up transposed; the
        paper's form is built here.
    """

    Options = PdcrOptions
    options: PdcrOptions

    def __init__(self, task: Task, options: PdcrOptions) -> None:
        super().__init__(task, options)
        if not options.layers:
            raise PaucisError("plug.pdcr.layers names no layer: give sites of the encoder, such as encoder.1,encoder.2")
        if len(options.vectors) not in (1, len(options.layers)):
            raise PaucisError(
                f"plug.pdcr.vectors has {len(options.vectors)} numbers for {len(options.layers)} layers: give one for "
                "all, or one per layer"
            )
        planar = task.ndim == 2
        self.weight = (0.1 if planar else 0.01) if options.weight is None else options.weight
        self.temperature = (1.0 if planar else 0.5) if options.temperature is None else options.temperature
        self.counts = options.vectors * (len(options.layers) if len(options.vectors) == 1 else 1)
        self.fields: dict[str, Field] = {}

    def attach(self, method: Method) -> None:
        """Finds the receptive fields of the method's first network.

        Raises:
            PaucisError: a layer is no encoder site, or its fields cover the whole patch.
        """
        self.fields = encoder_fields(method.networks()[0], self.options.layers, self.task.patch)

    def loss(self, aligned: Aligned, clock: Clock) -> dict[str, Tensor]:
        """The weighted mean of the layers' losses (Algorithm 1)."""
        maps = [aligned.features.encoder[int(layer.partition(".")[2])] for layer in self.fields]
        return {"dragsaw": self.weighted(maps, aligned.labels)}

    def weighted(self, maps: Sequence[Tensor], labels: Tensor) -> Tensor:
        """The same from the layers' maps, in the order of ``fields``, and labels (B, *spatial)."""
        fields, options = list(self.fields.values()), self.options
        return self.weight * dragsaw_of_maps(
            maps, fields, labels, self.task.classes, self.counts, self.temperature, options.affinity
        )


def encoder_fields(network: Network, layers: Sequence[str], patch: Sequence[int]) -> dict[str, Field]:
    """Receptive fields of encoder sites in a patch.

    Raises:
        PaucisError: a layer is no encoder site of the network, or its fields cover the whole patch.
    """
    known_layers(layers, [site for site in network.sites if site.startswith("encoder.")], network.name)
    fields = receptive_fields(network, layers, patch)
    narrow_fields(fields, patch)
    return fields


def known_layers(layers: Sequence[str], encoder: Sequence[str], network: str) -> None:
    """Raises a PaucisError where a layer is none of the sites of the network's encoder."""
    for layer in layers:
        if layer not in encoder:
            raise PaucisError(
                f"plug.pdcr.layers: '{layer}' is no encoder site of network '{network}' (there are: "
                f"{', '.join(encoder)})"
            )


def narrow_fields(fields: dict[str, Field], patch: Sequence[int]) -> None:
    """Raises a PaucisError where the fields of a layer cover the whole patch."""
    wide = [layer for layer, field in fields.items() if covers(field, patch)]
    if wide:
        size = "x".join(map(str, fields[wide[0]].size))
        raise PaucisError(
            f"plug.pdcr.layers: the receptive field of '{wide[0]}', {size} voxels, covers the whole patch of "
            f"{'x'.join(map(str, patch))}, so that all its vectors see the same: choose finer layers or a larger patch"
        )


def covers(field: Field, patch: Sequence[int]) -> bool:
    """Whether a field is at least as large as the patch along every axis."""
    return all(size >= side for size, side in zip(field.size, patch, strict=True))


def dragsaw_of_maps(
    maps: Sequence[Tensor],
    fields: Sequence[Field],
    labels: Tensor,
    classes: int,
    counts: Sequence[int],
    temperature: float = 1.0,
    affinity: Affinity = "continuous",
) -> Tensor:
    """The patch-dragsaw loss of feature maps, averaged over them (Algorithm 1).

    Args:
        maps: (B, D, *spatial) each, at strides of their own.
        fields: receptive fields of each map's vectors.
        labels: (B, *spatial) at the input's size, ``IGNORE`` where nothing is known.
        classes: M, background included.
        counts: vectors taken from each map, at most.
        temperature: of the similarities.
        affinity: ``continuous``, or one of the paper's comparisons.

    Returns:
        a scalar in float32.
    """
    members = class_members(labels, classes)
    losses = []
    for feature, field, count in zip(maps, fields, counts, strict=True):
        grid = vector_grid(feature.shape[2:], count, field)
        places, centers = grid.places.to(feature.device), grid.centers.to(feature.device)
        ratios = window_shares(members, centers, field.size)
        vectors = feature.flatten(2)[:, :, places].transpose(1, 2)
        weights, valid = _weights(affinity, ratios, labels, centers)
        losses.append(patch_dragsaw(vectors, weights, temperature, valid))
    return torch.stack(losses).mean()


def _weights(affinity: Affinity, ratios: Tensor, labels: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, N) affinities, and (B, N) which vectors count: those of which anything is known."""
    valid = ratios.sum(2) > 0
    if affinity == "continuous":
        return patch_affinity(ratios), valid
    count = ratios.shape[1]
    if affinity == "constant":
        return torch.full_like(ratios[:, :, :1], 0.5).expand(-1, -1, count), valid
    if affinity == "diagonal":
        return torch.eye(count, device=ratios.device).expand(len(ratios), -1, -1), valid
    middle = _labels_at(labels, centers)
    return (middle[:, :, None] == middle[:, None, :]).float(), valid & (middle != IGNORE)


def _labels_at(labels: Tensor, centers: Tensor) -> Tensor:
    """(B, N) labels of the voxels at ``centers``, or of the image's nearest voxels."""
    index = torch.zeros(len(centers), dtype=torch.long, device=labels.device)
    for axis, side in enumerate(labels.shape[1:]):
        index = index * side + centers[:, axis].floor().long().clamp(0, side - 1)
    return labels.flatten(1)[:, index]
