"""One recorded case: arguments, what an oracle makes of them, and the file that says so."""

import pathlib

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

FOLDER = pathlib.Path(__file__).parent.parent / "mil" / "oracle"

COREMLTOOLS = "coremltools 9.0 value inference"
DECOMPRESS = "coremltools 9.0, what it materializes"
TORCH = "PyTorch 2.7.0"
NUMPY = "NumPy 2.2.6, the formula of coremltools' documentation"
DEGENERATE = "a distribution that has one outcome"

ELEMENTWISE = "ulp32:4"
"""NumPy computes a function in fp32 within 4 steps; the reference rounds once, from fp64."""

ONCE = "ulp32:1"
"""Both sides compute in fp64 and round once; the last bit may fall on either side of a tie."""

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}

count = {}
refused = []


class Input:
    """An argument that the function of the program takes."""

    def __init__(self, value):
        self.value = typed(value)


class Packed:
    """An array of one of the types of less than a byte, which NumPy has not."""

    def __init__(self, dtype, value):
        self.dtype = dtype
        self.value = np.array(value).astype(getattr(types, f"np_{dtype}_dtype"))


def typed(value):
    """`value` as an array, with Python's numbers as int32 and bool."""
    if isinstance(value, (np.ndarray, np.generic, str)):
        return value
    array = np.array(value)
    if array.dtype == bool:
        return array[()]
    if array.size and array.dtype.kind != "i":
        raise TypeError(f"{value}: give floats with their type")
    return array.astype(np.int32)[()]


def numbers(op, shape, low=-4.0, high=4.0, step=0.25, dtype=np.float32):
    """Distinct multiples of `step` as far as there are enough, the same in each run. Sums of products of a few
    quarters are exact in fp32, so that the order of a sum does not matter."""
    generator = np.random.RandomState(sum(map(ord, op)) + int(np.prod(shape)))
    choices = np.arange(round(low / step), round(high / step) + 1)
    size = int(np.prod(shape))
    picked = np.concatenate([generator.permutation(choices) for _ in range(size // len(choices) + 1)])[:size]
    return (picked * step).astype(dtype).reshape(shape)


def case(op, close, args, note, want=None, source=None, opset="ios18"):
    """Records one case of `op`. `want` is one array or a tuple of them; without it, coremltools is asked. `close` is a
    tolerance, or one for each engine; without it, the file is read and nothing is run."""
    try:
        record(op, close, args, note, want, source, opset)
    except Exception as e:
        refused.append(f"{op}, {note}: {e}")


def record(op, close, args, note, want, source, opset):
    results = infer(op, args, opset, folded=want is None)
    declared = [(dtype_of(v), tuple(v.shape)) for v in results]
    if want is None:
        values = [v.val for v in results]
        source = source or COREMLTOOLS
        if all(v is None for v in values) and op.startswith("constexpr"):
            found = results[0].op.materialized_val_inference()
            values = list(found) if isinstance(found, tuple) else [found]
            source = DECOMPRESS
        if any(v is None for v in values):
            raise ValueError(f"{op}: coremltools does not infer the value")
    else:
        values = list(want) if isinstance(want, tuple) else [want]
    if len(values) != len(declared):
        raise ValueError(f"{op}: {len(values)} values, {len(declared)} results")
    values = [exactly(op, np.asarray(v), *d) for v, d in zip(values, declared)]
    n = count[op] = count.get(op, -1) + 1
    text = file_text(op, args, list(zip(declared, values)), close, source, note, opset)
    (FOLDER / f"{op}_{n}.mil").write_text(text)


def infer(op, args, opset, folded):
    """The results of `op`, as coremltools types them; with their values if `folded`."""
    results = []

    def named(name, value):
        if isinstance(value, tuple):
            return [pair for i, v in enumerate(value) for pair in named(f"{name}_{i}", v)]
        # coremltools lets no function take a scalar.
        taken = isinstance(value, Input) and np.ndim(value.value) > 0 and not folded
        return [(name, value.value)] if taken else []

    taken = [pair for name, value in args.items() for pair in named(name, value)]

    def program(*inputs):
        known = {name: var for (name, _), var in zip(taken, inputs)}

        def given(name, value):
            if isinstance(value, tuple):
                return tuple(given(f"{name}_{i}", v) for i, v in enumerate(value))
            value = value.value if isinstance(value, (Input, Packed)) else typed(value)
            return known[name] if name in known else mb.const(val=value)

        out = getattr(mb, op)(**{name: given(name, value) for name, value in args.items()})
        results.extend(out if isinstance(out, (list, tuple)) else [out])
        return results[0]

    # The builder reads the parameters of the function it is given.
    names = ", ".join(name for name, _ in taken)
    scope = {"program": program}
    exec(f"def main({names}): return program({names})", scope)
    specs = [mb.TensorSpec(v.shape, types.numpy_type_to_builtin_type(v.dtype)) for _, v in taken]
    mb.program(input_specs=specs, opset_version=TARGETS[opset])(scope["main"])
    return results


def dtype_of(var):
    name = types.builtin_to_string(var.dtype)
    return {"str": "string"}.get(name, name)


NUMPY_TYPES = {"fp16": np.float16, "fp32": np.float32, "bool": np.bool_} | {
    t: np.dtype(t).type for t in ("int8", "int16", "int32", "uint8", "uint16", "uint32")
}


def exactly(op, value, dtype, shape):
    """`value` with the type that was inferred; only floats may be rounded, and only once."""
    if value.shape != shape:
        raise ValueError(f"{op}: a value of {value.shape}, {shape} is inferred")
    if dtype not in NUMPY_TYPES:
        return value
    with np.errstate(over="ignore"):
        cast = value.astype(NUMPY_TYPES[dtype])
    if np.dtype(cast.dtype).kind != "f" and not np.array_equal(cast.astype(np.float64), value.astype(np.float64)):
        raise ValueError(f"{op}: {value} is not {dtype}")
    return cast


def file_text(op, args, results, close, source, note, opset):
    names = ["out"] if len(results) == 1 else [f"out_{i}" for i in range(len(results))]
    inputs, body, given, attributes, head = [], [], [], [], []

    def argument(name, value):
        if isinstance(value, tuple):
            return "(" + ", ".join(argument(f"{name}_{i}", v) for i, v in enumerate(value)) + ")"
        if isinstance(value, Input):
            inputs.append(f"{type_text(value.value)} {name}")
            head.append(f"//! {name} = {rows(value.value, decimal)}")
        else:
            ty, text = literal(value)
            body.append(f'{ty} {name} = const()[name = string("{name}"), val = {text}];')
        return name

    # The compressed constants of ios16 are attributes.
    as_attributes = op.startswith("constexpr") and (
        opset != "ios18" or op in ("constexpr_cast", "constexpr_affine_dequantize")
    )
    for name, value in args.items():
        if as_attributes:
            attributes.append((name, literal(value)[1]))
        else:
            given.append((name, argument(name, value)))
    attributes.append(("name", f'string("{names[0]}")'))
    declared = ", ".join(f"{spelled(d, s)} {n}" for ((d, s), _), n in zip(results, names))
    arguments = ", ".join(f"{n} = {v}" for n, v in sorted(given))
    labels = ", ".join(f"{n} = {v}" for n, v in sorted(attributes))
    body.append(f"{declared} = {op}({arguments})[{labels}];")
    for (_, value), name in zip(results, names):
        head.append(f"//! {name} = {rows(value, decimal)}")
    lines = [f"//! # from {source}", f"//! # {note}"]
    tests = close if isinstance(close, dict) else {"reference,soft": close}
    lines += [f"//! test run engine={e} close={c}" for e, c in tests.items() if c] or ["//! test read"]
    lines += head
    lines += ["program(1.3)", "{", f"    func main<{opset}>({', '.join(inputs)}) {{"]
    lines += [f"            {line}" for line in body]
    lines += [f"        }} -> ({', '.join(names)});", "}"]
    return "\n".join(lines) + "\n"


def type_text(value):
    if isinstance(value, Packed):
        return spelled(value.dtype, value.value.shape)
    if isinstance(value, str):
        return "string"
    name = {"float16": "fp16", "float32": "fp32"}.get(value.dtype.name, value.dtype.name)
    return spelled(name, value.shape)


def spelled(dtype, shape):
    return f"tensor<{dtype}, [{', '.join(map(str, shape))}]>" if len(shape) else dtype


def literal(value):
    value = value if isinstance(value, Packed) else typed(value)
    ty = type_text(value)
    if isinstance(value, str):
        return ty, f'string("{value}")'
    return ty, f"{ty}({rows(value.value if isinstance(value, Packed) else value, hexadecimal)})"


def rows(value, element):
    value = np.asarray(value)
    if value.ndim == 0:
        return element(value[()])
    return "[" + ", ".join(rows(v, element) for v in value) + "]"


def hexadecimal(x):
    """As the printer writes it: C99, without trailing zeros."""
    if not isinstance(x, np.floating):
        return decimal(x)
    if not np.isfinite(x) or x == 0:
        return {True: "-"}.get(bool(np.signbit(x)), "") + ("nan" if np.isnan(x) else "inf" if x else "0x0p+0")
    mantissa, exponent = float(x).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}"


def decimal(x):
    """The fewest digits that give `x` in its type."""
    if isinstance(x, (np.bool_, bool)):
        return str(bool(x)).lower()
    if isinstance(x, (np.integer, int)):
        return str(int(x))
    if isinstance(x, str):
        return f'"{x}"'
    text = "nan" if np.isnan(x) else str(x)
    if "e" in text:
        digits, exponent = text.split("e")
        text = f"{digits}e{int(exponent)}"
    return text
