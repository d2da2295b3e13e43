"""PDCR and UAFS for nnU-Net v2: trainers that ``nnUNetv2_train -tr`` finds by name through ``nnUNet_extTrainer``.

``python -m paucis.nnunet`` prints the folder that the variable must name. The package is imported without nnunetv2;
``paucis.nnunet.trainers``, from which trainers of your own can be derived, needs it (``pip install 'paucis[nnunet]'``).
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "by_name"
"""Where nnU-Net looks for the trainers: it imports every file of this folder by itself."""
