"""nnU-Net's loss with the patch-dragsaw loss of an encoder's maps added while the network trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paucis.batch import IGNORE, Task
from paucis.networks.receptive_field import Field, receptive_fields
from paucis.nnunet.stages import Passed, stages
from paucis.plugins.pdcr import PDCR, PdcrOptions, known_layers, narrow_fields


class DragsawLoss(nn.Module):
    """``theirs(output, target) + PDCR``; without gradients, as in nnU-Net's validation, theirs alone.

    Args:
        theirs: nnU-Net's loss, with deep supervision or without.
        network: nnU-Net's network, neither compiled nor wrapped yet: hooks of its encoder keep the maps.
        task: of the network.
        options: layers ``encoder.N`` and the rest of PDCR's options.
        ignore: nnU-Net's ignore label, if there is one.

    Raises:
        PaucisError: no such layer, or one whose receptive field covers the patch.
    """

    def __init__(
        self, theirs: nn.Module, network: nn.Module, task: Task, options: PdcrOptions, ignore: int | None
    ) -> None:
        super().__init__()
        self.theirs = theirs
        self.ignore = ignore
        self.pdcr = PDCR(task, options)
        self.pdcr.fields = stage_fields(network, options.layers, task.patch)
        self.passed = Passed(network, options.layers)
        self._shares: list[Tensor] = []

    def forward(self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]) -> Tensor:
        """The loss of the network's output (or outputs, finest first) and target (B, 1, *spatial) of the same sizes."""
        loss: Tensor = self.theirs(output, target)
        if not torch.is_grad_enabled():
            return loss
        labels = (target if isinstance(target, Tensor) else target[0])[:, 0].long()
        if self.ignore is not None:
            labels = labels.masked_fill(labels == self.ignore, IGNORE)
        share = self.pdcr.weighted(self.passed.take(), labels)
        self._shares.append(share.detach())
        return loss + share

    def mean_share(self) -> float:
        """The mean of PDCR's weighted share in the losses since this was last asked for."""
        shares, self._shares = self._shares, []
        return float(torch.stack(shares).mean()) if shares else 0.0


def stage_fields(network: nn.Module, layers: Sequence[str], patch: Sequence[int]) -> dict[str, Field]:
    """Receptive fields of stages ``encoder.N`` of one of nnU-Net's networks.

    Raises:
        PaucisError: no such layer, or one whose receptive field covers the patch.
    """
    places = stages(network)
    known_layers(layers, [site for site in places if site.startswith("encoder.")], type(network).__name__)
    found = receptive_fields(network, [places[layer][0] for layer in layers], patch)
    fields = dict(zip(layers, found.values(), strict=True))
    narrow_fields(fields, patch)
    return fields
