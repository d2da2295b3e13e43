"""nnU-Net's trainer with PDCR, with UAFS and with both; nothing else of it is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from paucis.batch import Task
from paucis.errors import PaucisError
from paucis.nnunet.loss import DragsawLoss
from paucis.nnunet.settings import KEY, as_record, from_environment, nnunet_words, refuse_other_options
from paucis.nnunet.stages import select_stages
from paucis.options import build
from paucis.plugins.pdcr import PdcrOptions
from paucis.plugins.uafs import UafsOptions


class CarryingTrainer(nnUNetTrainer):  # type: ignore[misc]
    """Keeps what a trainer carries in its plans, which nnU-Net saves beside the weights and predicts with."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  (theirs: they read this signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        record = self.carried()
        if self.output_folder_base is not None:
            refuse_other_options(Path(self.output_folder_base), record)
        self.plans_manager.plans[KEY] = record
        self.print_to_log_file(f"Carried by {type(self).__name__}: {record}")

    def carried(self) -> dict[str, Any]:
        """The options of all that is carried, by plug-in."""
        return {}


class nnUNetTrainerPDCR(CarryingTrainer):
    """nnU-Net's trainer with patch-dragsaw contrastive regularization of its encoder.

    The loss of a training step gets PDCR's share; validation losses, network, checkpoints and prediction are nnU-Net's
    own. ``pdcr`` holds the options of the class, which variables ``PAUCIS_PDCR_*`` override.

    Raises:
        PaucisError: the dataset trains on regions, which overlap: shares of classes need labels that do not.
    """

    pdcr: ClassVar[PdcrOptions] = PdcrOptions(layers=("encoder.2", "encoder.3"))

    def carried(self) -> dict[str, Any]:
        if self.label_manager.has_regions:
            raise PaucisError(
                f"{self.plans_manager.dataset_name} trains on regions, and PDCR compares shares of classes that do not "
                "overlap: train with nnUNetTrainerUAFS, or on labels in place of regions"
            )
        return {**super().carried(), "pdcr": as_record(from_environment("pdcr", self.pdcr))}

    def _build_loss(self) -> nn.Module:
        theirs: nn.Module = super()._build_loss()
        with nnunet_words():
            options = build(PdcrOptions, self.plans_manager.plans[KEY]["pdcr"], "plug.pdcr.")
            if options.weight == 0:
                return theirs
            patch = tuple(int(side) for side in self.configuration_manager.patch_size)
            classes = int(self.label_manager.num_segmentation_heads)
            task = Task(len(patch), int(self.num_input_channels), classes, patch)
            return DragsawLoss(theirs, bare(self.network), task, options, self.label_manager.ignore_label)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(train_outputs)
        if isinstance(self.loss, DragsawLoss):
            self.print_to_log_file(f"PDCR, its share in the training loss: {self.loss.mean_share():.4f}")


class nnUNetTrainerUAFS(CarryingTrainer):
    """nnU-Net's trainer whose network has uncertainty-aware feature selection behind its stages.

    The blocks are trained, saved and loaded with the network. ``uafs`` holds the options of the class, which variables
    ``PAUCIS_UAFS_*`` override; prediction takes them from the plans that lie beside the weights.
    """

    uafs: ClassVar[UafsOptions] = UafsOptions()

    def carried(self) -> dict[str, Any]:
        record = as_record(from_environment("uafs", self.uafs), classes=len(self.label_manager.all_labels))
        return {**super().carried(), "uafs": record}

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's network with blocks.

        Raises:
            PaucisError: the plans were not written by this trainer, or name a site that the network does not have.
        """
        network: nn.Module = super().build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        record = dict(plans_manager.plans.get(KEY, {}).get("uafs", {}))
        if not record:
            raise PaucisError(
                f"the plans say nothing of UAFS, so that {cls.__name__} cannot build its network: predict with the "
                "plans.json that lies beside the weights"
            )
        classes = int(record.pop("classes"))
        with nnunet_words():
            options = build(UafsOptions, record, "plug.uafs.")
            select_stages(network, len(configuration_manager.patch_size), classes, options)
        return network


class nnUNetTrainerPDCRUAFS(nnUNetTrainerPDCR, nnUNetTrainerUAFS):
    """nnU-Net's trainer with both."""


def bare(network: nn.Module) -> nn.Module:
    """The network within what nnU-Net may have wrapped around it: several processes, compilation."""
    for wrapped in ("module", "_orig_mod"):
        network = getattr(network, wrapped, network)
    return network
