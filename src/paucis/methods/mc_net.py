"""MC-Net and MC-Net+: decoders that enlarge in different ways teach each other with sharpened predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paucis.batch import Batch, Task
from paucis.errors import PaucisError
from paucis.losses.consistency import squared_difference
from paucis.losses.sharpen import sharpen
from paucis.methods.base import Aligned, Build, Clock, Method, Phase, Setting, StepResult, register
from paucis.methods.parts.decoders import known_network, needs_further_decoders
from paucis.methods.parts.supervision import supervised_loss
from paucis.methods.parts.unlabeled import ConsistencyOptions, first, parts, risen, valid_unlabeled, valid_voxels
from paucis.networks.base import Features
from paucis.options import option

_WEIGHTS = {2: 0.1, 3: 1.0}


@dataclass(frozen=True)
class MCNetOptions(ConsistencyOptions):
    """Dice alone and half of it per decoder, as published for the left atrium."""

    ce: float = option(0.0, "weight of the cross-entropy on labels", minimum=0.0)
    dice_background: bool = option(False, "whether the Dice loss counts the background as a class")
    version: Literal["v1", "v2"] = option("v2", "v1: two decoders (MC-Net); v2: three (MC-Net+)")
    consistency: float | None = option(  # type: ignore[assignment]
        None, "largest weight of the mutual consistency; none = 1 in 3D and 0.1 in 2D, as published", minimum=0.0
    )
    consistency_on: Literal["all", "unlabeled"] = option("all", "images that the mutual consistency counts")
    temperature: float = option(0.1, "of the sharpening", minimum=1e-3)
    sharpen_per_class: bool = option(False, "sharpen each class on its own, as the published 2D code does")
    detach: bool = option(False, "no gradient through the sharpened predictions")


@register("mc_net")
class MCNet(Method):
    """One encoder; decoders that differ in their up-sampling; each follows the others' sharpened predictions.

    ``L = sum_i L_sup(p_i) + w(t) * sum_{i != j} mean (p_i - sharp(p_j))^2`` with
    ``sharp(p) = p^(1/T) / sum p^(1/T)``. The network's own decoder is reported; the further ones take the other
    up-samplings that the network knows (V-Net: transposed, then trilinear, then nearest).

    Reference:
        Y. Wu et al.: Semi-supervised left atrium segmentation with mutual consistency training. MICCAI 2021 (v1);
        Y. Wu et al.: Mutual consistency learning for semi-supervised medical image segmentation. Medical Image
        Analysis 2022 (v2).

    Deviations:
        For more than two classes the published 2D code sharpens each class on its own, so that the target does not
        sum to 1: ``sharpen_per_class=true``. Sharpened predictions are targets that move, as in the published code;
        ``detach=true`` holds them. The published ramps are 6,000 of 15,000 iterations in 3D (``ramp=0.4``) and all
        of 30,000 in 2D, the rate constant; the published Dice has linear denominators in 3D
        (``dice_squared=false``). Voxels on padding are not counted.
    """

    Options = MCNetOptions

    def __init__(self, build: Build, task: Task, options: MCNetOptions) -> None:
        weight = _WEIGHTS[task.ndim] if options.consistency is None else options.consistency
        super().__init__(build, task, dataclasses.replace(options, consistency=weight))
        self.network = build()
        others = other_upsamplings(type(self.network.options), getattr(self.network.options, "upsampling", None))
        wanted = _decoders(options) - 1
        if len(others) < wanted:
            raise PaucisError(_too_few(self.network.name, options, len(others) + 1))
        self.further = nn.ModuleList(self.network.new_decoder(upsampling=kind) for kind in others[:wanted])

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """Supervised loss of every decoder, mutual consistency of all pairs."""
        labeled, unlabeled = parts(batch)
        count = len(labeled.images)
        features: Features = self.network(torch.cat([labeled.images, unlabeled]))
        logits = [features.logits, *(d(features.encoder, features.logits.shape[2:])[1] for d in self.further)]
        supervised = torch.stack([supervised_loss(each[:count], labeled, self.options) for each in logits]).sum()
        start, valid = 0, valid_voxels(batch)
        if self.options.consistency_on == "unlabeled":
            start, valid = count, valid_unlabeled(batch)
        consistency = self._mutual([each[start:].float().softmax(1) for each in logits], valid)
        factor = risen(self.options, clock)
        return StepResult(
            {"supervised": supervised, "consistency": factor * consistency},
            {"consistency_weight": factor, "disagreement": consistency.detach()},
            Aligned(first(features, count), labeled.labels),
        )

    @classmethod
    def check(cls, setting: Setting, options: MCNetOptions) -> list[str]:
        """Adds: the network must know as many up-samplings as there are decoders."""
        problems = super().check(setting, options) + needs_further_decoders(setting, cls.name)
        kind = known_network(setting)
        known = 0 if kind is None else len(other_upsamplings(kind.Options, None))
        if kind is not None and known < _decoders(options):
            problems.append(_too_few(setting.network, options, known))
        return problems

    def _mutual(self, probabilities: Sequence[Tensor], valid: Tensor) -> Tensor:
        options = self.options
        targets = [sharpen(p, options.temperature, per_class=options.sharpen_per_class) for p in probabilities]
        targets = [target.detach() for target in targets] if options.detach else targets
        pairs = [(p, q) for i, p in enumerate(probabilities) for j, q in enumerate(targets) if i != j]
        return torch.stack([squared_difference(p, q, valid) for p, q in pairs]).sum()


def other_upsamplings(options: Any, own: str | None) -> list[str]:
    """What a network's option ``upsampling`` may be besides ``own``, in its order; nothing where it has no such."""
    fields = {field.name: field for field in dataclasses.fields(options)} if dataclasses.is_dataclass(options) else {}
    choices = fields["upsampling"].metadata.get("choices") if "upsampling" in fields else None
    return [choice for choice in choices or () if choice != own]


def _decoders(options: MCNetOptions) -> int:
    return 2 if options.version == "v1" else 3


def _too_few(network: str, options: MCNetOptions, known: int) -> str:
    return (
        f"method 'mc_net' ({options.version}) needs {_decoders(options)} decoders that enlarge differently, and "
        f"network '{network}' knows {known}: choose another with network=NAME, such as unet or vnet"
    )
