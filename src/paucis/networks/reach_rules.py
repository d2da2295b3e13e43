"""What torch's functions do to a tensor of lowest coordinates. Importing the module makes ``Reach`` know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from paucis.networks.reach import (
    NOWHERE,
    RULES,
    Reach,
    TooSmallError,
    UnknownReachError,
    compactly,
    continued,
    lowest,
    mixed,
    on_meta,
    pointwise,
    tensors,
    windows,
)

_FEW = 8


def _per_axis(value: Any, ndim: int) -> list[int]:
    return [int(value)] * ndim if isinstance(value, int) else [int(v) for v in value] * (ndim if len(value) == 1 else 1)


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    ndim = weight.dim() - 2
    kernels, strides, dilations = weight.shape[2:], _per_axis(stride, ndim), _per_axis(dilation, ndim)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernels, dilations, strict=True)]
        pads = [(whole // 2, whole - whole // 2) for whole in total]
    else:
        pads = [(side, side) for side in _per_axis(0 if padding == "valid" else padding, ndim)]
    reach = mixed(input, -ndim - 1, weight.shape[0], groups)
    for axis in range(ndim):
        reach = windows(reach, axis - ndim, kernels[axis], strides[axis], pads[axis], dilations[axis])
    return reach


def _pool(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    ndim, reach = input.dim() - 2, input
    kernels, pads, dilations = (_per_axis(value, ndim) for value in (kernel_size, padding, dilation))
    strides = kernels if stride is None or stride == [] else _per_axis(stride, ndim)
    for axis in range(ndim):
        dim, kernel = axis - ndim, kernels[axis]
        if kernel >= reach.shape[dim] and reach.stride(dim):
            if reach.shape[dim] < _FEW and not reach.isinf().all():
                raise TooSmallError  # a pool like others, or the mean over the image? a larger one will tell
            reach = _squeezed(reach, dim, True)
            continue
        reach = windows(reach, dim, kernel, strides[axis], (pads[axis],) * 2, dilations[axis], ceil_mode)
    return (reach, reach) if return_indices else reach


def _average_pool(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *_: Any, **__: Any
) -> Any:
    return _pool(input, kernel_size, stride, padding, 1, ceil_mode)


def _pool_with_indices(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    kwargs["return_indices"] = True
    return _pool(input, *args[:5], **kwargs)


def _adaptive_pool(input: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    ndim, reach = input.dim() - 2, input
    wanted = [output_size] * ndim if isinstance(output_size, int) or output_size is None else list(output_size)
    for axis, count in enumerate(wanted):
        dim, size = axis - ndim, reach.shape[axis - ndim]
        if count is None or count == size:
            continue
        if count == 1:
            reach = _squeezed(reach, dim, True)
        elif size % count == 0:
            reach = windows(reach, dim, size // count, size // count, (0, 0))
        else:
            raise UnknownReachError(f"the network pools {size} voxels to {count}, in windows of unequal size")
    return reach


def _squeezed(reach: Tensor, dim: int, keepdim: bool) -> Tensor:
    """A mean or maximum over an axis: over channels it depends on them all, over positions on none of them."""
    low = lowest(reach, dim, keepdim)
    if reach.stride(dim) == 0 or (dim % reach.dim() == 1 and reach.dim() >= 4):
        return low
    high = compactly([reach], lambda rows: rows[0].amax(dim, True), along=dim % reach.dim())
    high = high if keepdim else high.squeeze(dim)
    return compactly([low, high], lambda rows: torch.where(rows[0] == rows[1], rows[0], NOWHERE))


def _reduction(input: Tensor, *args: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    if args and isinstance(args[0], Tensor):  # torch.maximum in its old form
        return pointwise(torch.maximum, (input, args[0]), {})
    if "other" in kwargs:
        return pointwise(torch.maximum, (input, kwargs["other"]), {})
    places = [arg for arg in args if not isinstance(arg, bool) and not isinstance(arg, float)]
    dim = places[0] if places else dim
    keepdim = keepdim or True in [arg for arg in args if isinstance(arg, bool)]
    dims = range(input.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    reach = input
    for one in sorted((d % input.dim() for d in dims), reverse=True):
        reach = _squeezed(reach, one, keepdim)
    return reach


def _extremum(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    reach = _reduction(input, *args, **kwargs)
    whole = not args and "dim" not in kwargs and "other" not in kwargs
    binary = "other" in kwargs or (args and isinstance(args[0], Tensor))
    return reach if whole or binary else torch.return_types.max((reach.as_subclass(Reach),) * 2)


def _softmax(input: Tensor, dim: int | None = None, *_: Any, **__: Any) -> Tensor:
    over_channels = dim is not None and dim % input.dim() == 1 and input.dim() >= 4
    return mixed(input, 1, input.shape[1]) if over_channels else input


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return mixed(input, -1, weight.shape[0])


def _product(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A product of matrices: weights and attention mix vectors, which counts for weights alone."""

    def rule(*args: Any, **kwargs: Any) -> Tensor:
        shape = func(*on_meta(args), **on_meta(kwargs)).shape
        operands = tensors([args, kwargs])
        tracked = [item for item in operands if isinstance(item, Reach)]
        if len(tracked) == 1 and len(operands) == 2 and operands[0] is tracked[0]:
            return mixed(tracked[0], -1, shape[-1]).broadcast_to(shape)
        placed = [item for item in tracked if not item.isinf().all()]
        if len(tracked) > 1 and len(placed) == 1 and placed[0].shape == shape:
            return placed[0]
        if len(tracked) > 1 or not placed:
            return torch.full((1,) * len(shape), NOWHERE).expand(shape)
        raise UnknownReachError(f"the network calls {func.__name__}, which mixes positions")

    return rule


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    shape = (*query.shape[:-1], value.shape[-1])
    return value if value.shape == shape else torch.full((1,) * len(shape), NOWHERE).expand(shape)


def _multi_head_attention(query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    return _same(query), None


def _joined(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rule(parts: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
        dim = dim if axis is None else axis
        rows = [item if isinstance(item, Reach) else torch.full(item.shape, NOWHERE) for item in parts]
        if func is torch.stack:
            return torch.stack(rows, dim)
        return compactly(rows, lambda each: torch.cat(each, dim), along=dim % rows[0].dim())

    return rule


def _padded(input: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> Tensor:
    for place in range(len(pad) // 2):
        left, right = pad[2 * place : 2 * place + 2]
        if left or right:
            input = continued(input, -1 - place, left, right)
    return input


def _resized(input: Tensor, size: Any = None, scale_factor: Any = None, *_: Any, **__: Any) -> Tensor:
    if not input.isinf().all():
        raise UnknownReachError("the network enlarges a map before")
    return functional.interpolate(input, size, scale_factor)


def _transposed(input: Tensor, *_: Any, **__: Any) -> Tensor:
    raise UnknownReachError("the network enlarges a map before, by a transposed convolution")


def _same(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input.expand(input.shape)


def _viewed(input: Tensor, *shape: Any, **kwargs: Any) -> Tensor:
    return input.reshape(*shape, **kwargs)  # a map with axes of stride 0 cannot be viewed


def _item_set(target: Tensor, place: Any, value: Any) -> None:
    content = target.clone(memory_format=torch.contiguous_format)
    content[place] = value if isinstance(value, Reach) else NOWHERE
    target.set_(content)  # type: ignore[call-overload]


def _for(dims: str, name: str, rule: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {name.format(dim): rule for dim in dims}


RULES |= {
    **_for("123", "conv{}d", _convolution),
    **_for("123", "conv_transpose{}d", _transposed),
    **_for("123", "max_pool{}d", _pool),
    **_for("123", "max_pool{}d_with_indices", _pool_with_indices),
    **_for("123", "avg_pool{}d", _average_pool),
    **_for("123", "adaptive_avg_pool{}d", _adaptive_pool),
    **_for("123", "adaptive_max_pool{}d", _adaptive_pool),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "std", "var", "norm", "logsumexp", "nanmean", "prod"), _reduction),
    **dict.fromkeys(("max", "min"), _extremum),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **{
        func.__name__: _product(func)
        for func in (torch.matmul, torch.bmm, torch.mm, torch.einsum, torch.baddbmm, torch.addmm)
    },
    "__matmul__": _product(torch.matmul),
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _multi_head_attention,
    "cat": _joined(torch.cat),
    "concat": _joined(torch.cat),
    "concatenate": _joined(torch.cat),
    "stack": _joined(torch.stack),
    "pad": _padded,
    "interpolate": _resized,
    "upsample": _resized,
    "view": _viewed,
    "__setitem__": _item_set,
    **dict.fromkeys(
        (
            "contiguous",
            "clone",
            "detach",
            "to",
            "float",
            "double",
            "half",
            "bfloat16",
            "type",
            "type_as",
            "cuda",
            "cpu",
        ),
        _same,
    ),
}
