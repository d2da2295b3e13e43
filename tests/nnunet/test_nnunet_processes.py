"""Two processes, each with its own crop, take the gradient of one process with both."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from staged_unet import StagedUNet, images, staged_unet, targets
from torch import Tensor, nn
from torch.nn import functional

from paucis.batch import Task
from paucis.nnunet.loss import DragsawLoss
from paucis.nnunet.stages import select_stages
from paucis.plugins.pdcr import PdcrOptions
from paucis.plugins.uafs import UafsOptions


class Deep(nn.Module):
    def forward(self, outputs: list[Tensor], targets: list[Tensor]) -> Tensor:
        fine, coarse = (functional.cross_entropy(o, t[:, 0].long()) for o, t in zip(outputs, targets, strict=True))
        return fine + coarse


def blocked() -> StagedUNet:
    """With blocks whose normalization is fixed: statistics of one crop alone would not be those of both."""
    network = staged_unet(2)
    select_stages(network, 2, 3, UafsOptions())
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    return network


def gradients(network: StagedUNet, run: nn.Module, crops: list[int]) -> dict[str, Tensor]:
    """Of the mean over crops, of the second of two steps."""
    options = PdcrOptions(layers=("encoder.1", "encoder.2"), weight=0.5)
    loss = DragsawLoss(Deep(), network, Task(2, 1, 3, (32, 32)), options, None)
    for _ in range(2):
        network.zero_grad()
        for crop in crops:
            part = slice(crop, crop + 1)
            value = loss(run(images(2)[part]), [target[part] for target in targets(2)])
            (value / len(crops)).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def process(rank: int, port: int, compiled: bool, given: Any) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    network = blocked()
    inner = torch.compile(network, backend="aot_eager") if compiled else network  # in nnU-Net's order
    found = gradients(network, nn.parallel.DistributedDataParallel(inner), [rank])
    if rank == 0:
        given.put({name: gradient.numpy() for name, gradient in found.items()})
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.heavy
@pytest.mark.parametrize("compiled", [False, True])
def test_two_processes_take_the_gradient_of_one(compiled: bool) -> None:
    network = blocked()
    expected = gradients(network, network, [0, 1])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    given = mp.get_context("spawn").SimpleQueue()
    running = mp.spawn(process, (port, compiled, given), nprocs=2, join=False)
    found = given.get()
    running.join()
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        assert torch.allclose(torch.from_numpy(found[name]), gradient, atol=1e-6), name
