"""A tensor of what each value can be reached from: networks run on it as on an image.

Every value is the lowest coordinate of the input voxels that it depends on (the highest one is the lowest of the
negated coordinates); infinity where it depends on no position. A convolution takes the minimum over its window, a sum
that over its terms, and so on (``reach_rules``). Beyond the border coordinates go on evenly, so that padding cuts no
field short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import torch
from torch import Tensor

NOWHERE = torch.inf

RULES: dict[str, Callable[..., Any]] = {}
"""What a function of torch does to lowest coordinates, by its name; whatever has no rule acts on each value alone."""

PROPERTIES = ("__get__", "__set__", "__len__", "__getitem__", "__repr__", "__format__", "__hash__")

_STRUCTURAL = """
    reshape reshape_as view_as permute transpose swapaxes swapdims movedim moveaxis t adjoint flatten unflatten
    squeeze unsqueeze expand expand_as broadcast_to repeat repeat_interleave tile chunk split split_with_sizes
    tensor_split hsplit vsplit dsplit unbind narrow select index_select roll flip rot90 pixel_shuffle
    pixel_unshuffle channel_shuffle size dim ndimension numel nelement stride is_contiguous is_floating_point
    is_complex is_same_size element_size get_device storage_offset requires_grad_
"""
STRUCTURE = frozenset([*_STRUCTURAL.split(), *PROPERTIES])


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
            if name in RULES:
                result = RULES[name](*args, **kwargs)
            elif name in STRUCTURE:
                result = func(*args, **kwargs)
            elif name.startswith("new_") or name.endswith("_like"):
                return func(*args, **kwargs).as_subclass(Tensor)
            else:
                result = pointwise(func, args, kwargs)
            result = _wrapped(result)
            if name.endswith("_") and name not in PROPERTIES and isinstance(args[0], Reach):
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
        target.set_(result)  # type: ignore[call-overload]
    return target


def pointwise(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """What depends, value by value, on all tensors given; a function that changes the shape is not one."""
    try:
        shape = func(*on_meta(args), **on_meta(kwargs)).shape
        operands = [item.broadcast_to(shape) for item in tensors([args, kwargs]) if isinstance(item, Reach)]
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        name = getattr(func, "__name__", str(func))
        raise UnknownReachError(f"the network calls {name}, of which it is not known what it sees") from error
    return compactly(operands, lambda rows: reduce(torch.minimum, rows))


def on_meta(item: Any) -> Any:
    if isinstance(item, Tensor):
        dtype = torch.float32 if item.is_floating_point() else item.dtype
        return torch.empty(item.shape, dtype=dtype, device="meta")
    if isinstance(item, dict):
        return {name: on_meta(value) for name, value in item.items()}
    return type(item)(map(on_meta, item)) if type(item) in (tuple, list) else item


def tensors(item: Any) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    parts = item.values() if isinstance(item, dict) else item if isinstance(item, tuple | list) else ()
    return list(chain.from_iterable(map(tensors, parts)))


def compactly(operands: list[Tensor], apply: Callable[[list[Tensor]], Tensor], along: int | None = None) -> Tensor:
    """``apply`` on operands that differ in size along one axis at most, without axes along which nothing changes."""
    dims = range(operands[0].dim())
    still = [dim for dim in dims if dim != along and all(item.stride(dim) == 0 for item in operands)]
    sizes = [operands[0].shape[dim] for dim in still]
    for dim in still:
        operands = [item.narrow(dim, 0, 1) for item in operands]
    result = apply(operands)
    for dim, size in zip(still, sizes, strict=True):
        result = stretched(result, dim, size)
    return result


def stretched(reach: Tensor, dim: int, size: int) -> Tensor:
    shape = [-1] * reach.dim()
    shape[dim] = size
    return reach.narrow(dim, 0, 1).expand(shape)


def mixed(reach: Tensor, dim: int, outputs: int, groups: int = 1) -> Tensor:
    """Every output depends on all inputs of its group along ``dim``."""
    if reach.stride(dim) == 0:
        return stretched(reach, dim, outputs)
    dim %= reach.dim()
    if groups == 1:
        return stretched(lowest(reach, dim, True), dim, outputs)
    grouped: Tensor = reach.unflatten(dim, (groups, -1))  # type: ignore[no-untyped-call]
    return grouped.amin(dim + 1).repeat_interleave(outputs // groups, dim)


def lowest(reach: Tensor, dim: int, keepdim: bool) -> Tensor:
    low = compactly([reach], lambda rows: rows[0].amin(dim, True), along=dim % reach.dim())
    return low if keepdim else low.squeeze(dim)


def continued(reach: Tensor, dim: int, left: int, right: int) -> Tensor:
    """More voxels (fewer where negative) at both ends of an axis, their coordinates going on evenly."""
    size = reach.shape[dim]
    if reach.stride(dim) == 0:
        return stretched(reach, dim, size + left + right)
    parts = [reach.narrow(dim, max(-left, 0), size + min(left, 0) + min(right, 0))]
    for count, end, inner in ((left, 0, 1), (right, size - 1, size - 2)):
        if count > 0:
            last = reach.narrow(dim, end, 1)
            if size == 1 and not last.isinf().all():
                raise TooSmallError
            step = torch.where(last.isinf(), 0.0, last - reach.narrow(dim, inner if size > 1 else 0, 1))
            further = [last + number * step for number in range(1, count + 1)]
            parts = [*reversed(further), *parts] if end == 0 else [*parts, *further]
    return compactly(parts, lambda rows: torch.cat(rows, dim), along=dim % reach.dim())


def windows(
    reach: Tensor, dim: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1, ceil: bool = False
) -> Tensor:
    """The minimum over each window along an axis."""
    size, (left, right), extent = reach.shape[dim], padding, dilation * (kernel - 1) + 1
    count = (size + left + right - extent) // stride + 1
    if ceil and (size + left + right - extent) % stride and count * stride < size + left:
        count += 1  # a last window that sticks out, if it begins within the image
    if reach.stride(dim) == 0:
        return stretched(reach, dim, count)
    starts = torch.arange(count) * stride

    def apply(rows: list[Tensor]) -> Tensor:
        longer = continued(rows[0], dim, left, (count - 1) * stride + extent - size - left)
        return reduce(torch.minimum, [longer.index_select(dim, starts + tap * dilation) for tap in range(kernel)])

    return compactly([reach], apply, along=dim % reach.dim())
