"""Checks of arguments of the channel functions: of shapes and dtypes alone, so they hold under jit, vmap and grad."""

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

#: A last axis of at most so many is one of colours (grey, grey and alpha, RGB, RGBA), not of columns.
_MAX_COLOURS = 4


def check_images(image: Any, name: str = "image") -> Num[Array | np.ndarray, "*batch height width"]:
    """Grey images as an array, with any leading axes; a jax array is returned as it is.

    A batch of pictures at most 4 pixels wide is refused, since it could be a colour image; one such picture
    (height, width) is accepted, also under vmap. Leading axes may be empty, as an empty batch is.

    Raises: ValueError for fewer than two axes, a last axis of colours, no rows or columns, a masked array, or a dtype
        other than bool, integer or real floating point.
    """
    if isinstance(image, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, whose mask would be dropped; use {name}.filled(value)")
    array = image if isinstance(image, jax.Array) else np.asarray(image)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.bool_, np.integer, np.floating)):
        raise ValueError(f"{name} has dtype {array.dtype}, wanted bool, integer or real floating point")
    shape = array.shape
    if len(shape) < 2:
        raise ValueError(f"{name} has shape {shape}, wanted (..., height, width)")
    if 0 in shape[-2:]:
        raise ValueError(f"{name} has shape {shape}, which is empty: wanted at least one row and column")
    if len(shape) > 2 and shape[-1] <= _MAX_COLOURS:
        raise ValueError(
            f"{name} has shape {shape}: the last axis holds columns, and {shape[-1]} look like colours; convert it to "
            "grey (skimage.color.rgb2gray), or use jax.vmap over pictures (height, width) that are so narrow"
        )
    return array


def check_whole(value: Any, name: str) -> int:
    """A whole number; a float is accepted where it is one (8.0).

    Raises: TypeError for anything but a real number; ValueError for a fraction, NaN or an infinity.
    """
    number = check_real(value, name)
    if not (isinstance(number, numbers.Integral) or float(number).is_integer()):
        raise ValueError(f"{name} is {value}, wanted a whole number")
    return int(number)


def check_real(value: Any, name: str) -> float | int:
    """A real number of Python, numpy or a concrete jax array without axes. Raises: TypeError."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is of type {type(value).__name__}, wanted a real number")
    return value  # type: ignore[return-value]


def check_array(array: Any, name: str, n_axes: int, dtype: Any, shape: tuple[int | None, ...] = ()) -> None:
    """Compare axes, dtype and the sizes that are not None, of the last axes. Raises: ValueError."""
    found = tuple(np.shape(array))
    tail = found[len(found) - len(shape) :]
    if len(found) != n_axes or any(want is not None and got != want for got, want in zip(tail, shape, strict=False)):
        wanted = ("...",) * (n_axes - len(shape)) + tuple("any" if size is None else size for size in shape)
        raise ValueError(f"{name} has shape {found}, wanted {n_axes} axes ({', '.join(map(str, wanted))})")
    if not jnp.issubdtype(array.dtype, dtype):
        raise ValueError(f"{name} has dtype {array.dtype}, wanted {dtype.__name__}")
