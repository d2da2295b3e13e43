"""What nnU-Net finds by name in the folder of ``nnUNet_extTrainer``.

nnU-Net imports this file as a module of its own and forgets it afterwards; the classes live in the package.
"""

from paucis.nnunet.trainers import nnUNetTrainerPDCR, nnUNetTrainerPDCRUAFS, nnUNetTrainerUAFS

__all__ = ["nnUNetTrainerPDCR", "nnUNetTrainerPDCRUAFS", "nnUNetTrainerUAFS"]
