from __future__ import annotations

import torch

from engine import TASKS, builder, make_batch
from paucis.losses.segmentation import cross_entropy
from paucis.methods.parts.gradient_sign import adversarial_images


def test_adversarial_images_fool_the_network_they_were_made_for() -> None:
    torch.manual_seed(0)
    network = builder(TASKS[2], normalization="instance", dropout=(0.0,))().eval()
    images, labels, _ = make_batch(TASKS[2]).labeled
    fooling = adversarial_images(network, images, labels, 0.05)
    noise = images + 0.05 * images.std((2, 3), keepdim=True) * torch.randn_like(images).sign()
    plain, by_noise, fooled = (float(cross_entropy(network(x).logits, labels)) for x in (images, noise, fooling))
    assert fooled > plain + 0.005
    assert fooled - plain > 3 * abs(by_noise - plain)


def test_the_step_is_one_sign_per_voxel_in_deviations_of_the_image() -> None:
    torch.manual_seed(0)
    network = builder(TASKS[3])()
    images, labels, _ = make_batch(TASKS[3]).labeled
    images = images * torch.tensor([1.0, 7.0]).reshape(2, 1, 1, 1, 1)
    change = (adversarial_images(network, images, labels, 0.1) - images).abs()
    for each, image in zip(change, images, strict=True):
        lengths = each[each > 1e-6]
        assert len(lengths) > 0.5 * each.numel()
        assert torch.allclose(lengths, 0.1 * image.std(correction=0), rtol=1e-3)


def test_nothing_of_the_network_moves_and_no_gradient_stays() -> None:
    network = builder(TASKS[2], dropout=(0.5,))().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels, _ = make_batch(TASKS[2]).labeled
    images.requires_grad_()
    fooling = adversarial_images(network, images, labels, 0.1)
    assert not fooling.requires_grad
    assert images.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(part.training for part in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():  # dropout is off, so nothing is drawn
        assert torch.equal(fooling, adversarial_images(network, images, labels, 0.1))
