"""A tensor of what each value can be reached from: networks run on it as on an image.

Every value is the lowest coordinate of the input voxels that it depends on (the highest one is the lowest of the negated
coordinates); infinity where it depends on no position. A convolution takes the minimum over its window, a sum that
over its terms, and so on. Beyond the border coordinates go on evenly, so that padding cuts no field short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_NOWHERE = torch.inf
_FEW = 8


class TooSmallError(Exception):
    """The map is a single voxel wide: nobody knows how coordinates go on beyond it."""


class UnknownReachError(Exception):
    """What a function does to positions is not known."""


class Reach(Tensor):
    """Lowest coordinates. Axes along which nothing changes are kept with stride 0: they cost nothing."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        with torch._C.DisableTorchFunctionSubclass():
            if name in _RULES:
                result = _RULES[name](*args, **kwargs)
            elif name in _STRUCTURE:
                result = func(*args, **kwargs)
            elif name.startswith("new_") or name.endswith("_like"):
                return func(*args, **kwargs).as_subclass(Tensor)
            else:
                result = _pointwise(func, args, kwargs)
            result = _wrapped(result)
            if name.endswith("_") and name not in _PROPERTIES and isinstance(args[0], Reach):
                return _overwritten(args[0], result)
            return result


def _wrapped(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.as_subclass(Reach) if result.is_floating_point() else result.as_subclass(Tensor)
    if type(result) in (tuple, list):
        return type(result)(_wrapped(item) for item in result)
    return result


def _overwritten(target: Tensor, result: Any) -> Any:
    if isinstance(result, Tensor) and result is not target:
        target.set_(result)
    return target


def _pointwise(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """What depends, value by value, on all tensors given; a function that changes the shape is not one."""
    try:
        shape = func(*_on_meta(args), **_on_meta(kwargs)).shape
        operands = [item.broadcast_to(shape) for item in _tensors([args, kwargs]) if isinstance(item, Reach)]
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        name = getattr(func, "__name__", str(func))
        raise UnknownReachError(f"the network calls {name}, of which it is not known what it sees") from error
    return _compactly(operands, lambda tensors: reduce(torch.minimum, tensors))


def _on_meta(item: Any) -> Any:
    if isinstance(item, Tensor):
        dtype = torch.float32 if item.is_floating_point() else item.dtype
        return torch.empty(item.shape, dtype=dtype, device="meta")
    if isinstance(item, dict):
        return {name: _on_meta(value) for name, value in item.items()}
    return type(item)(map(_on_meta, item)) if type(item) in (tuple, list) else item


def _tensors(item: Any) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    parts = item.values() if isinstance(item, dict) else item if isinstance(item, tuple | list) else ()
    return list(chain.from_iterable(map(_tensors, parts)))


def _compactly(operands: list[Tensor], apply: Callable[[list[Tensor]], Tensor], along: int | None = None) -> Tensor:
    """``apply`` on operands that differ in size along one axis at most, without the axes along which nothing changes."""
    dims = range(operands[0].dim())
    still = [dim for dim in dims if dim != along and all(item.stride(dim) == 0 for item in operands)]
    sizes = [operands[0].shape[dim] for dim in still]
    for dim in still:
        operands = [item.narrow(dim, 0, 1) for item in operands]
    result = apply(operands)
    for dim, size in zip(still, sizes, strict=True):
        result = _stretched(result, dim, size)
    return result


def _stretched(reach: Tensor, dim: int, size: int) -> Tensor:
    shape = [-1] * reach.dim()
    shape[dim] = size
    return reach.narrow(dim, 0, 1).expand(shape)


def _mixed(reach: Tensor, dim: int, outputs: int, groups: int = 1) -> Tensor:
    """Every output depends on all inputs of its group along ``dim``."""
    if reach.stride(dim) == 0:
        return _stretched(reach, dim, outputs)
    dim %= reach.dim()
    if groups == 1:
        return _stretched(_lowest(reach, dim, True), dim, outputs)
    return reach.unflatten(dim, (groups, -1)).amin(dim + 1).repeat_interleave(outputs // groups, dim)


def _lowest(reach: Tensor, dim: int, keepdim: bool) -> Tensor:
    low = _compactly([reach], lambda rows: rows[0].amin(dim, True), along=dim % reach.dim())
    return low if keepdim else low.squeeze(dim)


def _continued(reach: Tensor, dim: int, left: int, right: int) -> Tensor:
    """More voxels (fewer where negative) at both ends of an axis, their coordinates going on evenly."""
    size = reach.shape[dim]
    if reach.stride(dim) == 0:
        return _stretched(reach, dim, size + left + right)
    parts = [reach.narrow(dim, max(-left, 0), size + min(left, 0) + min(right, 0))]
    for count, end, inner in ((left, 0, 1), (right, size - 1, size - 2)):
        if count > 0:
            last = reach.narrow(dim, end, 1)
            if size == 1 and not last.isinf().all():
                raise TooSmallError
            step = torch.where(last.isinf(), 0.0, last - reach.narrow(dim, inner if size > 1 else 0, 1))
            further = [last + number * step for number in range(1, count + 1)]
            parts = [*reversed(further), *parts] if end == 0 else [*parts, *further]
    return _compactly(parts, lambda rows: torch.cat(rows, dim), along=dim % reach.dim())


def _windows(
    reach: Tensor, dim: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1, ceil: bool = False
) -> Tensor:
    """The minimum over each window along an axis."""
    size, (left, right), extent = reach.shape[dim], padding, dilation * (kernel - 1) + 1
    count = (size + left + right - extent) // stride + 1
    if ceil and (size + left + right - extent) % stride and count * stride < size + left:
        count += 1  # a last window that sticks out, if it begins within the image
    if reach.stride(dim) == 0:
        return _stretched(reach, dim, count)
    starts = torch.arange(count) * stride

    def apply(rows: list[Tensor]) -> Tensor:
        longer = _continued(rows[0], dim, left, (count - 1) * stride + extent - size - left)
        return reduce(torch.minimum, [longer.index_select(dim, starts + tap * dilation) for tap in range(kernel)])

    return _compactly([reach], apply, along=dim % reach.dim())


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
    reach = _mixed(input, -ndim - 1, weight.shape[0], groups)
    for axis in range(ndim):
        reach = _windows(reach, axis - ndim, kernels[axis], strides[axis], pads[axis], dilations[axis])
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
        reach = _windows(reach, dim, kernel, strides[axis], (pads[axis],) * 2, dilations[axis], ceil_mode)
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
            reach = _windows(reach, dim, size // count, size // count, (0, 0))
        else:
            raise UnknownReachError(f"the network pools {size} voxels to {count}, in windows of unequal size")
    return reach


def _squeezed(reach: Tensor, dim: int, keepdim: bool) -> Tensor:
    """A mean or maximum over an axis: over channels it depends on them all, over positions on none of them."""
    low = _lowest(reach, dim, keepdim)
    if reach.stride(dim) == 0 or (dim % reach.dim() == 1 and reach.dim() >= 4):
        return low
    high = _compactly([reach], lambda rows: rows[0].amax(dim, True), along=dim % reach.dim())
    high = high if keepdim else high.squeeze(dim)
    return _compactly([low, high], lambda rows: torch.where(rows[0] == rows[1], rows[0], _NOWHERE))


def _reduction(input: Tensor, *args: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    if args and isinstance(args[0], Tensor):  # torch.maximum in its old form
        return _pointwise(torch.maximum, (input, args[0]), {})
    if "other" in kwargs:
        return _pointwise(torch.maximum, (input, kwargs["other"]), {})
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
    return _mixed(input, 1, input.shape[1]) if over_channels else input


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _mixed(input, -1, weight.shape[0])


def _product(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A product of matrices: weights and attention mix vectors, which counts for weights alone."""

    def rule(*args: Any, **kwargs: Any) -> Tensor:
        shape = func(*_on_meta(args), **_on_meta(kwargs)).shape
        operands = _tensors([args, kwargs])
        tracked = [item for item in operands if isinstance(item, Reach)]
        if len(tracked) == 1 and len(operands) == 2 and operands[0] is tracked[0]:
            return _mixed(tracked[0], -1, shape[-1]).broadcast_to(shape)
        placed = [item for item in tracked if not item.isinf().all()]
        if len(tracked) > 1 and len(placed) == 1 and placed[0].shape == shape:
            return placed[0]
        if len(tracked) > 1 or not placed:
            return torch.full((1,) * len(shape), _NOWHERE).expand(shape)
        raise UnknownReachError(f"the network calls {func.__name__}, which mixes positions")

    return rule


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    shape = (*query.shape[:-1], value.shape[-1])
    return value if value.shape == shape else torch.full((1,) * len(shape), _NOWHERE).expand(shape)


def _multi_head_attention(query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    return _same(query), None


def _joined(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rule(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
        dim = dim if axis is None else axis
        rows = [item if isinstance(item, Reach) else torch.full(item.shape, _NOWHERE) for item in tensors]
        if func is torch.stack:
            return torch.stack(rows, dim)
        return _compactly(rows, lambda parts: torch.cat(parts, dim), along=dim % rows[0].dim())

    return rule


def _padded(input: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> Tensor:
    for place in range(len(pad) // 2):
        left, right = pad[2 * place : 2 * place + 2]
        if left or right:
            input = _continued(input, -1 - place, left, right)
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
    content[place] = value if isinstance(value, Reach) else _NOWHERE
    target.set_(content)


def _for(dims: str, name: str, rule: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {name.format(dim): rule for dim in dims}


_RULES: dict[str, Callable[..., Any]] = {
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
        ("contiguous", "clone", "detach", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cuda", "cpu"),
        _same,
    ),
}

_PROPERTIES = ("__get__", "__set__", "__len__", "__getitem__", "__repr__", "__format__", "__hash__")

_STRUCTURE = frozenset(
    ["reshape", "reshape_as", "view_as", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "repeat_interleave", "tile", "chunk", "split", "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "narrow", "select", "index_select", "roll", "flip", "rot90", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex", "is_same_size", "element_size", "get_device", "storage_offset", "requires_grad_"]
).union(_PROPERTIES)
