"""Monte-Carlo dropout: several passes of a network whose dropout layers act."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from paucis.errors import PaucisError
from paucis.inference.sliding import Maps, WindowPredict
from paucis.inference.views import DISAGREEMENT
from paucis.uncertainty.entropy import entropy

_MISSING = (
    "predict.dropout={passes}: the network predicts without dropout: train one that has it (vnet, or "
    "network.dropout=0.1 of unet)"
)
_LAYERS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def dropout_layers(module: nn.Module) -> list[nn.Module]:
    """The dropout layers that can drop something."""
    return [layer for layer in module.modules() if isinstance(layer, _LAYERS) and layer.p > 0]


def check_dropout(modules: Iterable[nn.Module], passes: int) -> None:
    """Raises PaucisError where passes with dropout are asked of a module that has none."""
    if passes and not all(dropout_layers(module) for module in modules):
        raise PaucisError(_MISSING.format(passes=passes))


def with_dropout(
    predict: WindowPredict, module: nn.Module, passes: int, *, disagreement: bool = False
) -> WindowPredict:
    """A prediction averaged over passes with dropout; everything else of the module stays in eval mode.

    Pass k draws from a generator seeded with k, so that a scan's prediction can be repeated.

    Args:
        predict: windows (N, C, *spatial) to maps (N, k, *spatial) by way of ``module``.
        module: the method.
        passes: how many.
        disagreement: adds the map ``view_information``: mutual information between passes, as a share of ln K.

    Raises:
        PaucisError: (when called) no dropout layer takes part in the prediction.

    Reference: Y. Gal, Z. Ghahramani: Dropout as a Bayesian approximation. ICML, 2016.
    """
    layers = dropout_layers(module)

    def averaged(windows: Tensor) -> Maps:
        sums: Maps = {}
        expected: Tensor | None = None
        with _acting(layers) as calls:
            for number in range(passes):
                with torch.random.fork_rng([windows.device] if windows.is_cuda else []):
                    torch.manual_seed(number)
                    maps = {name: values.float() for name, values in predict(windows).items()}
                for name, values in maps.items():
                    sums[name] = sums[name] + values if name in sums else values
                if disagreement:
                    spread = entropy(maps["probabilities"], normalized=True)
                    expected = spread if expected is None else expected + spread
        if not calls:
            raise PaucisError(_MISSING.format(passes=passes))
        means = {name: values / passes for name, values in sums.items()}
        if expected is not None:
            between = entropy(means["probabilities"], normalized=True) - expected / passes
            means[DISAGREEMENT] = between.clamp(min=0).unsqueeze(1)
        return means

    return averaged


@contextmanager
def _acting(layers: Sequence[nn.Module]) -> Iterator[list[int]]:
    """Dropout on; yields a list that is empty as long as none was asked."""
    modes = [layer.training for layer in layers]
    calls: list[int] = []
    hooks = [layer.register_forward_hook(lambda *_: calls.append(1) if not calls else None) for layer in layers]
    try:
        for layer in layers:
            layer.train()
        yield calls
    finally:
        for layer, mode, hook in zip(layers, modes, hooks, strict=True):
            layer.train(mode)
            hook.remove()
