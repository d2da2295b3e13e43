"""The one training loop: devices, precision, phases, stages, checkpoints, resuming, figures."""

import paucis.torchvision_guard  # noqa: F401  (before any module here imports lightning)
