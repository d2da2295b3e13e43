"""A head that predicts signed distance maps beside the segmentation: shared by the methods that learn shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from paucis.methods.parts.decoders import decoder_sites
from paucis.methods.parts.unlabeled import ConsistencyOptions
from paucis.networks.base import Features, Network
from paucis.networks.blocks import conv, resize_to
from paucis.options import option


@dataclass(frozen=True)
class DistanceOptions(ConsistencyOptions):
    """Dice alone on labels, of the foreground, and the loss of the distance maps, as published."""

    ce: float = option(0.0, "weight of the cross-entropy on labels", minimum=0.0)
    dice: float = option(1.0, "weight of the Dice loss on labels", minimum=0.0)
    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    distance: float = option(0.3, "weight of the squared difference of distance maps on labels", minimum=0.0)
    absent: Literal["far", "zero"] = option(
        "far", "distance map of a class that a crop lacks: far away everywhere, or 0 (boundary) as published"
    )


class DistanceHead(nn.Module):
    """Signed distance maps from the layer before the head: 1-wide convolution, tanh, at the images' size.

    Args:
        network: whose ``decoder[-1]`` it reads.
        classes: K; one map for every foreground class.
    """

    def __init__(self, network: Network, classes: int) -> None:
        super().__init__()
        self.head = conv(network.task.ndim, decoder_sites(network)[-1].channels, classes - 1, 1)

    def forward(self, features: Features) -> Tensor:
        """Maps (B, K - 1, *spatial) in [-1, 1], float32."""
        maps: Tensor = self.head(features.decoder[-1])
        return resize_to(maps.float(), features.logits.shape[2:]).tanh()
