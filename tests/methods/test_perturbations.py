from __future__ import annotations

import torch

from paucis.methods.parts.perturbations import dropped, feature_dropout, feature_noise

FEATURE = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1


def test_noise_is_relative_bounded_and_the_same_for_every_image_of_the_batch() -> None:
    torch.manual_seed(0)
    ratio = feature_noise(FEATURE, 0.3) / FEATURE - 1
    assert float(ratio.abs().max()) <= 0.3 + 1e-5
    assert float(ratio.abs().max()) > 0.25
    assert torch.allclose(ratio[0], ratio[1], atol=1e-5)
    assert float(ratio[0].std()) > 0.1
    assert torch.equal(feature_noise(FEATURE, 0.0), FEATURE)


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    thinned = dropped(FEATURE.repeat(20, 1, 1, 1), 0.3)
    assert abs(float(thinned.eq(0).float().mean()) - 0.3) < 0.02
    assert abs(float(thinned.mean() / FEATURE.mean()) - 1) < 0.03
    assert torch.equal(dropped(FEATURE, 0.0), FEATURE)


def test_feature_dropout_removes_exactly_the_most_active_places_of_each_image() -> None:
    feature = FEATURE * torch.tensor([1.0, 5.0, 0.2]).reshape(3, 1, 1, 1)
    kept = feature_dropout(feature, 0.8, 0.8)
    activity = feature.mean(1)
    for image in range(3):
        removed = activity[image] >= 0.8 * activity[image].max()
        assert 0 < int(removed.sum()) < 64
        assert torch.equal(kept[image].eq(0).all(0), removed)
        assert torch.equal(kept[image][:, ~removed], feature[image][:, ~removed])


def test_everything_random_follows_torch_and_changes_from_call_to_call() -> None:
    for change in (feature_noise, dropped, lambda feature: feature_dropout(feature, 0.3, 0.95)):
        torch.manual_seed(3)
        first, second = change(FEATURE), change(FEATURE)
        torch.manual_seed(3)
        assert torch.equal(change(FEATURE), first)
        assert not torch.equal(first, second)


def test_gradients_pass_through_what_is_kept() -> None:
    for change in (feature_noise, dropped, feature_dropout):
        feature = FEATURE.clone().requires_grad_(True)
        change(feature).sum().backward()
        assert feature.grad.abs().sum() > 0
        assert torch.isfinite(feature.grad).all()
