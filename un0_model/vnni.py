"""Products of 8-bit integers on a processor, exact on every machine: uint8 rows times int8 weights.

A weight matrix [K, N] lies packed as [N / 32, K / 4, 2, 16, 4]: four of its rows and sixteen of its
columns are one vector of 64 bytes, which AVX-512 VNNI multiplies by four bytes of a row, and adds,
in one instruction. A machine without it runs the same sums from plain vector code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from un0_model.compiled import apart, compiled

__all__ = ["COLUMNS", "DEPTH", "multiply", "pack", "product"]

COLUMNS = 32  # of a tile: two vectors of sixteen sums
ROWS = 8  # of a tile at most: 16 registers hold its sums
DEPTH = 4  # bytes of a row that one instruction takes
_LANES = 16
_BYTES = ir.VectorType(ir.IntType(8), _LANES * DEPTH)
_SUMS = ir.VectorType(ir.IntType(32), _LANES)
_DOT = "llvm.x86.avx512.vpdpbusd.512"


def pack(weight: np.ndarray) -> np.ndarray:
    """Packs int8 weights [K, N] as the tiles [N / 32, K / 4, 2, 16, 4] that `multiply` reads.

    Raises ValueError unless 4 divides K and 32 divides N.
    """
    depth, width = weight.shape
    if depth % DEPTH or width % COLUMNS:
        raise ValueError(f"weights [{depth}, {width}] do not fill tiles of {DEPTH} x {COLUMNS}")
    split = weight.reshape(depth // DEPTH, DEPTH, width // COLUMNS, 2, _LANES)
    return np.ascontiguousarray(split.transpose(2, 0, 3, 4, 1))


def _has_vnni(context: Any) -> bool:
    """Whether code is made for a processor that has the instruction, as NUMBA_CPU_NAME may say."""
    return "+avx512vnni" in getattr(context.codegen(), "_tm_features", "")


def _add_dot(
    builder: ir.IRBuilder, total: ir.Value, row: ir.Value, tile: ir.Value, vnni: bool
) -> ir.Value:
    """Adds to sixteen sums the products of four unsigned bytes with 64 signed ones."""
    if vnni:
        kind = ir.FunctionType(_SUMS, [_SUMS, _SUMS, _SUMS])
        dot = cgutils.get_or_insert_function(builder.module, kind, _DOT)
        return builder.call(dot, [total, row, builder.bitcast(tile, _SUMS)])
    wide = ir.VectorType(ir.IntType(32), _LANES * DEPTH)
    products = builder.mul(
        builder.zext(builder.bitcast(row, _BYTES), wide), builder.sext(tile, wide)
    )
    index = ir.VectorType(ir.IntType(32), _LANES)
    for part in range(DEPTH):
        mask = ir.Constant(index, [lane * DEPTH + part for lane in range(_LANES)])
        total = builder.add(total, builder.shuffle_vector(products, products, mask))
    return total


def _tile(rows: int):
    """An intrinsic: sums int32 [rows, 32] at `out` of bytes [rows, 4 depth] and one packed tile.

    Where `more` is not 0, they are added to what is there.
    """

    @intrinsic
    def tile(_context, x, stride, weight, depth, out, out_stride, more):
        signature = types.void(*[types.intp] * 7)

        def code(context, builder, _signature, arguments):
            x, stride, weight, depth, out, out_stride, more = arguments
            vnni = _has_vnni(context)

            def load(address, kind):
                value = builder.load(builder.inttoptr(address, kind.as_pointer()))
                value.align = 1
                return value

            number = stride.type
            zero = ir.Constant(_SUMS, [0] * _LANES)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2 * rows)]
            places = [
                builder.inttoptr(
                    builder.add(
                        out, builder.add(builder.mul(out_stride, number(r)), number(64 * v))
                    ),
                    _SUMS.as_pointer(),
                )
                for r in range(rows)
                for v in range(2)
            ]
            with builder.if_then(builder.icmp_signed("!=", more, number(0))):
                for slot, pointer in zip(sums, places, strict=True):
                    before = builder.load(pointer)
                    before.align = 4
                    builder.store(before, slot)
            with cgutils.for_range(builder, depth) as loop:
                at = builder.add(weight, builder.mul(loop.index, number(2 * _LANES * DEPTH)))
                tiles = [
                    load(builder.add(at, number(v * _LANES * DEPTH)), _BYTES) for v in range(2)
                ]
                for r in range(rows):
                    offset = builder.add(
                        builder.mul(stride, number(r)), builder.mul(loop.index, number(DEPTH))
                    )
                    four = load(builder.add(x, offset), ir.IntType(32))
                    one = builder.insert_element(zero, four, ir.IntType(32)(0))
                    row = builder.shuffle_vector(one, one, zero)
                    for v in range(2):
                        slot = sums[2 * r + v]
                        total = _add_dot(builder, builder.load(slot), row, tiles[v], vnni)
                        builder.store(total, slot)
            for slot, pointer in zip(sums, places, strict=True):
                builder.store(builder.load(slot), pointer).align = 4
            return context.get_dummy_value()

        return signature, code

    return tile


_tile_8, _tile_4, _tile_2, _tile_1 = (_tile(rows) for rows in (ROWS, 4, 2, 1))


@apart
def product(x, stride, n, weight, tile_bytes, tiles, depth, out, out_stride, more):
    """`multiply` by addresses: sums int32 [n, 32 tiles] of bytes [n, 4 depth] and packed tiles.

    Where `more` is not 0, they are added to what is there.
    """
    for j in range(tiles):
        w, o = weight + j * tile_bytes, out + j * (4 * COLUMNS)
        r = 0
        while r + 8 <= n:
            _tile_8(x + r * stride, stride, w, depth, o + r * out_stride, out_stride, more)
            r += 8
        if r + 4 <= n:
            _tile_4(x + r * stride, stride, w, depth, o + r * out_stride, out_stride, more)
            r += 4
        if r + 2 <= n:
            _tile_2(x + r * stride, stride, w, depth, o + r * out_stride, out_stride, more)
            r += 2
        if r < n:
            _tile_1(x + r * stride, stride, w, depth, o + r * out_stride, out_stride, more)


@compiled
def multiply(x, n, weight, out):
    """out[:n] = x[:n] @ weight, exactly; x uint8 [n, K], weight packed, out int32 [n, N]."""
    product(
        x.ctypes.data,
        x.strides[0],
        n,
        weight.ctypes.data,
        weight.strides[0],
        weight.shape[0],
        weight.shape[1],
        out.ctypes.data,
        out.strides[0],
        0,
    )
