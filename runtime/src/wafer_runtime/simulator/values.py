"""Values as PEs hold them: 32-bit words and 16-bit halves, and arithmetic on them.

Sums, products and quotients of float32 are computed in float64 and rounded; those of
float16 are rounded to float32 on the way, as in numpy. As each has more than twice the
digits of the one below, that gives what rounding the exact result gives.
"""

import numpy as np

from wafer_runtime.simulator import compiled, isa


@compiled.inlined
def float_of(bits, kind):
    """The float64 of a float32 word, or of a float16 in a word's lower half."""
    if kind == isa.F32:
        return np.float64(np.uint32(bits).view(np.float32))
    sign = -1.0 if bits & 0x8000 else 1.0
    exponent = (bits >> 10) & 31
    digits = bits & 1023
    if exponent == 0:
        return sign * digits * 2.0**-24
    if exponent == 31:
        return sign * np.inf if digits == 0 else np.nan
    wide = ((exponent + 112) << 23) | (digits << 13)
    return sign * np.float64(np.uint32(wide).view(np.float32))


@compiled.inlined
def bits_of(value, kind):
    """The word of a float64, rounded to nearest, ties to even."""
    wide = np.int64(np.float32(value).view(np.uint32))
    if kind == isa.F32:
        return np.uint32(wide)
    sign = (wide >> 16) & 0x8000
    wide &= 0x7FFFFFFF
    if wide > 0x7F800000:
        return np.uint32(sign | 0x7E00)
    if wide >= 0x477FF000:
        return np.uint32(sign | 0x7C00)
    if wide < 0x38800000:  # below 2**-14: counted in 2**-24
        small = np.float64(np.uint32(wide).view(np.float32)) * 2.0**24
        return np.uint32(sign | np.int64(np.rint(small)))
    wide -= 112 << 23
    return np.uint32(sign | ((wide + 0xFFF + ((wide >> 13) & 1)) >> 13))


@compiled.inlined
def float_result(op, a, b, c, kind):
    """a op b, or c + a * b, as a word."""
    if op == isa.ADD:
        return bits_of(a + b, kind)
    if op == isa.MAC:
        product = float_of(bits_of(a * b, kind), kind)
        return bits_of(c + product, kind)
    if op == isa.MUL:
        return bits_of(a * b, kind)
    if op == isa.SUB:
        return bits_of(a - b, kind)
    if op == isa.DIV:
        return bits_of(a / b, kind)
    if op == isa.EXP:
        return bits_of(np.exp(a), kind)
    if a != a or b != b:
        return bits_of(np.nan, kind)
    if op == isa.MAX:
        return bits_of(max(a, b), kind)
    return bits_of(min(a, b), kind)


@compiled.inlined
def whole_result(op, a, b, c):
    """The same for int32, which wraps round; a division by 0 ends the run."""
    if op == isa.ADD:
        found = a + b
    elif op == isa.MAC:
        found = c + a * b
    elif op == isa.MUL:
        found = a * b
    elif op == isa.SUB:
        found = a - b
    elif op == isa.MAX:
        found = max(a, b)
    elif op == isa.MIN:
        found = min(a, b)
    else:
        size = abs(a) // abs(b) if b else 0
        found = size if (a < 0) == (b < 0) else -size
    return np.uint32(found & 0xFFFFFFFF)
