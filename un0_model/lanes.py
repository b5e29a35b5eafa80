"""Rows of numbers, sixteen at a time: what the kernels do between two products of bytes.

Left to itself LLVM takes eight at a time on some processors, one in short loops, and adds in the
order that suits the machine's registers. Here width and order are written down, and no other sum of
the kernels may change its order, so that they give the same bits on every machine (ADR 0029).
Arguments are addresses of contiguous float32 where nothing else is said; `n` counts vectors. Who
takes an address keeps the array: numba frees one after its own last use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LANES",
    "add",
    "blend_bytes",
    "clip",
    "dot",
    "exp",
    "finish",
    "largest",
    "norm",
    "scaled",
    "scores",
    "to_bytes",
    "weigh",
]

LANES = 16
_INT, _FLOAT = ir.IntType(32), ir.FloatType()
_INTS, _FLOATS = ir.VectorType(_INT, LANES), ir.VectorType(_FLOAT, LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WIDTHS = {_INTS: 64, _FLOATS: 64, _BYTES: 16}  # bytes
_EXP2 = (0.0018775767, 0.0089893397, 0.055826318, 0.24015361, 0.69315308, 0.99999994)
address, count, real, whole = types.intp, types.intp, types.float32, types.int32


class _Code:
    """Emits instructions on vectors; every method takes and gives LLVM values."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def _at(self, row: ir.Value, i: ir.Value, kind: ir.Type) -> ir.Value:
        place = self.b.add(row, self.b.mul(i, i.type(_WIDTHS[kind])))
        return self.b.inttoptr(place, kind.as_pointer())

    def load(self, row: ir.Value, i: ir.Value, kind: ir.Type = _FLOATS) -> ir.Value:
        """Vector i of a row."""
        value = self.b.load(self._at(row, i, kind))
        value.align = 1
        return value

    def store(self, value: ir.Value, row: ir.Value, i: ir.Value) -> None:
        self.b.store(value, self._at(row, i, value.type)).align = 1

    def all(self, number: Any, kind: ir.Type = _FLOATS) -> ir.Value:
        """Sixteen times a number, a Python one or one at hand."""
        if not isinstance(number, ir.Value):
            return ir.Constant(kind, [number] * LANES)
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), number, _INT(0))
        return self.b.shuffle_vector(one, one, ir.Constant(_INTS, [0] * LANES))

    def loop(self, n: ir.Value) -> AbstractContextManager[Any]:
        return cgutils.for_range(self.b, n)

    def held(self, value: ir.Value) -> ir.Value:
        """A place for what a loop carries on."""
        return cgutils.alloca_once_value(self.b, value)

    def own(self, name: str, *values: ir.Value) -> ir.Value:
        """LLVM's function of that name for this kind of vector."""
        kind = values[0].type
        mark = {_FLOATS: "v16f32", _INTS: "v16i32"}[kind]
        function = ir.FunctionType(kind, [v.type for v in values])
        return self.b.call(
            cgutils.get_or_insert_function(self.b.module, function, f"llvm.{name}.{mark}"), values
        )

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self.own("fma", a, b, c)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.b.select(self.b.fcmp_ordered(">", a, b), a, b)

    def fold(self, vector: ir.Value, join: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """One number of sixteen: halves joined, and halves of that."""
        while vector.type.count > 1:
            half = vector.type.count // 2
            kind = ir.VectorType(_INT, half)
            halves = (ir.Constant(kind, list(range(at, at + half))) for at in (0, half))
            vector = join(*(self.b.shuffle_vector(vector, vector, some) for some in halves))
        return self.b.extract_element(vector, _INT(0))

    def rounded(self, x: ir.Value, inverse: ir.Value) -> ir.Value:
        """Numbers in whole steps, as int32."""
        return self.b.fptosi(self.own("rint", self.b.fmul(x, inverse)), _INTS)

    def exp(self, x: ir.Value) -> ir.Value:
        """e^x of what is at most 0, to one part in a million, and at least 2^-90: no denormal."""
        t = self.larger(self.b.fmul(x, self.all(1.4426950408889634)), self.all(-90.0))
        floor = self.own("floor", t)
        f = self.b.fsub(t, floor)
        p = self.all(_EXP2[0])
        for factor in _EXP2[1:]:
            p = self.fma(p, f, self.all(factor))
        power = self.b.add(self.b.fptosi(floor, _INTS), self.all(127, _INTS))
        return self.b.fmul(p, self.b.bitcast(self.b.shl(power, self.all(23, _INTS)), _FLOATS))


def _emit(result: types.Type, *arguments: types.Type):
    """A numba signature, and what emits `body(code, *values)` for it."""

    def given(body: Callable[..., ir.Value | None]):
        def code(context, builder, _signature, values):
            return body(_Code(builder), *values) or context.get_dummy_value()

        return result(*arguments), code

    return given


@intrinsic
def largest(_context, x, n):
    """The largest |number| of a row, float32."""

    def body(c, x, n):
        most = c.held(c.all(0.0))
        with c.loop(n) as loop:
            c.b.store(c.larger(c.own("fabs", c.load(x, loop.index)), c.b.load(most)), most)
        return c.fold(c.b.load(most), c.larger)

    return _emit(real, address, count)(body)


@intrinsic
def to_bytes(_context, x, n, inverse, zero, out):
    """Writes a row as bytes: times `inverse`, rounded, plus `zero`. Gives their sum before that."""

    def body(c, x, n, inverse, zero, out):
        sums = c.held(c.all(0, _INTS))
        inverse, zero = c.all(inverse), c.all(zero, _INTS)
        with c.loop(n) as loop:
            steps = c.rounded(c.load(x, loop.index), inverse)
            c.b.store(c.b.add(c.b.load(sums), steps), sums)
            c.store(c.b.trunc(c.b.add(steps, zero), _BYTES), out, loop.index)
        return c.fold(c.b.load(sums), c.b.add)

    return _emit(whole, address, count, real, whole, address)(body)


@intrinsic
def blend_bytes(_context, x, n, inverse, shift, words):
    """Writes a row times `inverse`, rounded, into the byte `shift` bits up of int32 `words`."""

    def body(c, x, n, inverse, shift, words):
        inverse, shift = c.all(inverse), c.all(shift, _INTS)
        byte = c.b.shl(c.all(255, _INTS), shift)
        with c.loop(n) as loop:
            new = c.b.and_(c.b.shl(c.rounded(c.load(x, loop.index), inverse), shift), byte)
            others = c.b.and_(c.load(words, loop.index, _INTS), c.b.not_(byte))
            c.store(c.b.or_(others, new), words, loop.index)

    return _emit(types.void, address, count, real, whole, address)(body)


@intrinsic
def scores(_context, sums, shift, step, scale, known, n, out):
    """Writes (int32 sums - shift) * scale * step, -1e30 from number `known` on. Gives the most."""

    def body(c, sums, shift, step, scale, known, n, out):
        best, scale = c.held(c.all(-1e30)), c.all(scale)
        lane = ir.Constant(_INTS, list(range(LANES)))
        known = c.all(c.b.trunc(known, _INT), _INTS)
        with c.loop(n) as loop:
            first = c.b.trunc(c.b.mul(loop.index, loop.index.type(LANES)), _INT)
            exact = c.b.sitofp(c.load(sums, loop.index, _INTS), _FLOATS)
            off = c.b.fsub(exact, c.load(shift, loop.index))
            score = c.b.fmul(off, c.b.fmul(scale, c.load(step, loop.index)))
            there = c.b.icmp_signed("<", c.b.add(c.all(first, _INTS), lane), known)
            score = c.b.select(there, score, c.all(-1e30))
            c.store(score, out, loop.index)
            c.b.store(c.larger(score, c.b.load(best)), best)
        return c.fold(c.b.load(best), c.larger)

    return _emit(real, address, address, address, real, count, count, address)(body)


@intrinsic
def weigh(_context, x, best, step, n):
    """Makes a row e^(x - best) * step; gives the sum of the powers and the largest product."""

    result = types.UniTuple(types.float32, 2)
    signature = result(address, real, address, count)

    def code(context, builder, _signature, values):
        c, (x, best, step, n) = _Code(builder), values
        total, most, best = c.held(c.all(0.0)), c.held(c.all(0.0)), c.all(best)
        with c.loop(n) as loop:
            power = c.exp(c.b.fsub(c.load(x, loop.index), best))
            c.b.store(c.b.fadd(c.b.load(total), power), total)
            share = c.b.fmul(power, c.load(step, loop.index))
            c.store(share, x, loop.index)
            c.b.store(c.larger(share, c.b.load(most)), most)
        both = c.fold(c.b.load(total), c.b.fadd), c.fold(c.b.load(most), c.larger)
        return context.make_tuple(builder, result, both)

    return signature, code


@intrinsic
def exp(_context, x):
    """e^x of a number that is at most 0."""

    def body(c, x):
        return c.b.extract_element(c.exp(c.all(x)), _INT(0))

    return _emit(real, real)(body)


@intrinsic
def scaled(_context, sums, scale, n, out):
    """Writes int32 sums times `scale`."""

    def body(c, sums, scale, n, out):
        scale = c.all(scale)
        with c.loop(n) as loop:
            number = c.b.sitofp(c.load(sums, loop.index, _INTS), _FLOATS)
            c.store(c.b.fmul(number, scale), out, loop.index)

    return _emit(types.void, address, real, count, address)(body)


@intrinsic
def finish(_context, sums, shift, step, bias, scale, n, out):
    """Writes (int32 sums - int32 shift) * (scale * step) + bias."""

    def body(c, sums, shift, step, bias, scale, n, out):
        scale = c.all(scale)
        with c.loop(n) as loop:
            i = loop.index
            exact = c.b.sub(c.load(sums, i, _INTS), c.load(shift, i, _INTS))
            factor = c.b.fmul(scale, c.load(step, i))
            found = c.fma(c.b.sitofp(exact, _FLOATS), factor, c.load(bias, i))
            c.store(found, out, i)

    return _emit(types.void, *[address] * 4, real, count, address)(body)


@intrinsic
def clip(_context, x, n, most):
    """Makes what is negative 0 and what is above `most` that."""

    def body(c, x, n, most):
        most = c.all(most)
        with c.loop(n) as loop:
            value = c.larger(c.load(x, loop.index), c.all(0.0))
            value = c.b.select(c.b.fcmp_ordered("<", value, most), value, most)
            c.store(value, x, loop.index)

    return _emit(types.void, address, count, real)(body)


@intrinsic
def add(_context, x, factor, more, n):
    """x += factor * more."""

    def body(c, x, factor, more, n):
        factor = c.all(factor)
        with c.loop(n) as loop:
            i = loop.index
            c.store(c.fma(factor, c.load(more, i), c.load(x, i)), x, i)

    return _emit(types.void, address, real, address, count)(body)


@intrinsic
def dot(_context, x, y, n):
    """The scalar product of two rows."""

    def body(c, x, y, n):
        total = c.held(c.all(0.0))
        with c.loop(n) as loop:
            i = loop.index
            c.b.store(c.fma(c.load(x, i), c.load(y, i), c.b.load(total)), total)
        return c.fold(c.b.load(total), c.b.fadd)

    return _emit(real, address, address, count)(body)


@intrinsic
def norm(_context, x, gain, shift, n, out):
    """LayerNorm of a row, epsilon 1e-5 as in torch."""

    def body(c, x, gain, shift, n, out):
        total = c.held(c.all(0.0))
        numbers = c.b.uitofp(c.b.mul(n, n.type(LANES)), _FLOAT)
        share = c.b.fdiv(_FLOAT(1.0), numbers)
        with c.loop(n) as loop:
            c.b.store(c.b.fadd(c.b.load(total), c.load(x, loop.index)), total)
        mean = c.all(c.b.fmul(c.fold(c.b.load(total), c.b.fadd), share))
        spread = c.held(c.all(0.0))
        with c.loop(n) as loop:
            off = c.b.fsub(c.load(x, loop.index), mean)
            c.b.store(c.fma(off, off, c.b.load(spread)), spread)
        variance = c.b.fmul(c.fold(c.b.load(spread), c.b.fadd), share)
        root = c.b.call(
            cgutils.get_or_insert_function(
                c.b.module, ir.FunctionType(_FLOAT, [_FLOAT]), "llvm.sqrt.f32"
            ),
            [c.b.fadd(variance, _FLOAT(1e-5))],
        )
        scale = c.all(c.b.fdiv(_FLOAT(1.0), root))
        with c.loop(n) as loop:
            i = loop.index
            off = c.b.fmul(c.b.fsub(c.load(x, i), mean), scale)
            c.store(c.fma(off, c.load(gain, i), c.load(shift, i)), out, i)

    return _emit(types.void, *[address] * 3, count, address)(body)
