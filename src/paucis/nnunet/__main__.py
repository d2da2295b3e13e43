"""``python -m paucis.nnunet`` prints the folder that ``nnUNet_extTrainer`` must name."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from paucis.nnunet import FOLDER


def main() -> int:
    """Writes the folder; 2 where nnU-Net, or one that looks for trainers outside itself, is not installed."""
    if find_spec("nnunetv2") is None:
        sys.stderr.write("nnunetv2 is not installed: pip install 'paucis[nnunet]'\n")
        return 2
    from nnunetv2 import paths

    if not hasattr(paths, "nnUNet_extTrainer"):
        sys.stderr.write("this nnunetv2 does not look for trainers outside itself: install nnunetv2>=2.8\n")
        return 2
    sys.stdout.write(f"{FOLDER}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
