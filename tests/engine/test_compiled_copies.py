from __future__ import annotations

from copy import deepcopy

import torch

from paucis.batch import Task
from paucis.engine.compiled import compile_networks
from paucis.methods.parts.supervision import SupervisedOptions
from paucis.methods.supervised import Supervised
from paucis.networks import make


def test_a_copy_of_a_compiled_network_computes_with_its_own_weights() -> None:
    task = Task(2, 1, 2, (8, 8), (1.0, 1.0))
    method = Supervised(
        lambda: make("unet", task, {"features": 2, "depth": 2, "normalization": "batch"}), task, SupervisedOptions()
    )
    compile_networks(method)
    copy = deepcopy(method.network).eval()
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
        assert float(copy(torch.randn(1, 1, 8, 8)).logits.abs().max()) == 0.0
    assert any(bool(parameter.any()) for parameter in method.network.parameters())
