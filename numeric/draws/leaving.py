"""What a dispatch mode does not see: values that leave torch for numpy, Python, a file or a pointer, and the generators passed.

An enumerated draw may leave: it is decided. Continuous noise that leaves is refused by the name of the way that it takes, since
nobody sees what is made of it outside. The methods of `torch.Tensor` are replaced for that while an audit runs: a function mode
is off in the hooks and the custom backwards that autograd calls.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from numeric.draws.interception import Interceptor

WAYS_OUT = (
    "numpy __array__ __dlpack__ tolist __float__ __int__ __repr__ __format__ storage untyped_storage data_ptr apply_ map_ map2_"
).split()
"""The methods that give the values of a tensor to something that is not torch."""

_SHARING = {"numpy", "__array__", "__dlpack__", "to_dlpack"}
_MAKING = {
    torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor, torch.sparse_coo_tensor, torch.sparse_csr_tensor,
}  # fmt: skip
"""Make a tensor of numbers and of tensors of one number, whose values are read where no operation is seen."""

_CAPTURED = {getattr(Tensor, name): name for name in WAYS_OUT}
"""The methods as code may have taken them from the class before they were replaced."""

_PLAIN: set[type] = {Tensor, torch.nn.Parameter, int, float, bool, str, tuple, list, torch.dtype, type(None)}
"""No generators; to ask torch whether a value is one takes longer than many an operation."""

_running: list[Interceptor] = []


class Door(TorchFunctionMode):
    """Watch what goes into torch beside the operations that an `Interceptor` sees, and let `watched_exits` know of its run."""

    def __init__(self, intercepted: Interceptor) -> None:
        super().__init__()
        self._intercepted = intercepted

    def __enter__(self) -> Door:
        _running.append(self._intercepted)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _running.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for value in (*args, *(kwargs or {}).values()):
            if type(value) not in _PLAIN and isinstance(value, torch.Generator):
                self._intercepted.note(value)
        way = _CAPTURED.get(getattr(func, "__wrapped__", func))
        if way is not None and not _is_ours(sys._getframe(1).f_globals):
            self._intercepted.require_stays(f"Tensor.{way}", args[0], is_shared=way in _SHARING)
        self._intercepted.indexes = func is Tensor.__getitem__ and not _has_a_mask(args[1])
        output = func(*args, **(kwargs or {}))
        self._intercepted.indexes = False
        if func in _MAKING:
            self._intercepted.follow([each for each in tree_leaves(args) if isinstance(each, Tensor)], output)
        return output


def _has_a_mask(index: Any) -> bool:
    """Whether an index may be a mask, which decides how many values there are."""
    each = index if isinstance(index, tuple) else (index,)
    return any(isinstance(one, (list, bool)) or (isinstance(one, Tensor) and one.dtype == torch.bool) for one in each)


@contextmanager
def watched_exits() -> Iterator[None]:
    """Until the end of the block, refuse continuous noise of a run that leaves torch by a method of `torch.Tensor`.

    Raises
        NotAuditable, from the method.
    """
    places = [*((Tensor, name) for name in WAYS_OUT), (torch, "to_dlpack"), (torch.utils.dlpack, "to_dlpack")]
    kept = [(place, name, vars(place).get(name)) for place, name in places]
    for place, name in places:
        setattr(place, name, _guarded(name, getattr(place, name)))
    try:
        yield
    finally:
        for place, name, function in kept:
            if function is None:
                delattr(place, name)
            else:
                setattr(place, name, function)


def _guarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _running and not _is_ours(sys._getframe(1).f_globals):
            _running[-1].require_stays(f"Tensor.{name}", _unwrapped(tensor), is_shared=name in _SHARING)
        return method(tensor, *args, **kwargs)

    return guarded


def _is_ours(namespace: Mapping[str, Any]) -> bool:
    return str(namespace.get("__name__", "")).partition(".")[0] == __name__.partition(".")[0]


def _unwrapped(tensor: Tensor) -> Tensor:
    """The tensor below the rows of `torch.vmap`, which have no memory of their own."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor
