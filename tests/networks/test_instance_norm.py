from __future__ import annotations

import pytest
import torch
from torch import nn

from paucis.networks.instance_norm import InstanceNorm2d, InstanceNorm3d

CASES = [
    (InstanceNorm2d, nn.InstanceNorm2d, (3, 4, 6, 5), torch.channels_last),
    (InstanceNorm3d, nn.InstanceNorm3d, (2, 4, 3, 6, 5), torch.channels_last_3d),
    (InstanceNorm3d, nn.InstanceNorm3d, (1, 4, 3, 6, 5), torch.channels_last_3d),
]


@pytest.mark.parametrize(("ours", "library", "shape", "last"), CASES)
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_the_librarys(ours, library, shape, last, training) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    mine, theirs = ours(4, affine=True).train(training), library(4, affine=True).train(training)
    with torch.no_grad():
        mine.weight.uniform_(0.5, 2)
        mine.bias.normal_()
    theirs.load_state_dict(mine.state_dict())
    first = (torch.randn(shape) * 3 + 1).contiguous(memory_format=last).requires_grad_()
    second = first.detach().contiguous().requires_grad_()
    a, b = mine(first), theirs(second)
    assert a.is_contiguous(memory_format=last)
    torch.testing.assert_close(a, b)
    pull = torch.randn_like(b)
    (a * pull).sum().backward()
    (b * pull).sum().backward()
    torch.testing.assert_close(first.grad, second.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine.weight.grad, theirs.weight.grad, atol=1e-5, rtol=1e-4)


def test_a_single_voxel_is_refused_as_the_library_does() -> None:
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm2d(4, affine=True)(torch.randn(2, 4, 1, 1))
