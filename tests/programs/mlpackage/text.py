"""MIL text: a printer of model files that shares nothing with backpropane's reader, and a reader of the programs beside us."""

import re

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.proto import MIL_pb2 as P

OPSETS = {"CoreML5": "ios15", "CoreML6": "ios16", "CoreML7": "ios17", "CoreML8": "ios18", "CoreML9": "ios26"}
NAMES = {
    P.BOOL: "bool", P.STRING: "string", P.FLOAT16: "fp16", P.FLOAT32: "fp32", P.FLOAT64: "fp64", P.BFLOAT16: "bf16",
    P.INT4: "int4", P.INT8: "int8", P.INT16: "int16", P.INT32: "int32", P.INT64: "int64", P.UINT1: "uint1",
    P.UINT2: "uint2", P.UINT3: "uint3", P.UINT4: "uint4", P.UINT6: "uint6", P.UINT8: "uint8", P.UINT16: "uint16",
    P.UINT32: "uint32", P.UINT64: "uint64",
}
BITS = {P.INT4: 4, P.UINT1: 1, P.UINT2: 2, P.UINT3: 3, P.UINT4: 4, P.UINT6: 6}
BYTES = {P.FLOAT16: "<f2", P.INT8: "<i1", P.UINT8: "<u1", P.UINT32: "<u4"}
# Parameters that take several values, whatever their number.
SEVERAL = {("concat", "values"), ("stack", "values"), ("einsum", "values"), ("while_loop", "loop_vars"),
           ("reshape_like", "ref_tensors"), ("reshape_like", "begins"), ("reshape_like", "ends"),
           ("reshape_like", "end_masks")}


def dim(d):
    return str(d.constant.size) if d.WhichOneof("dimension") == "constant" else "?"


def ty(t):
    kind = t.WhichOneof("type")
    if kind == "tensorType":
        name, dims = NAMES[t.tensorType.dataType], [dim(d) for d in t.tensorType.dimensions]
        return f"tensor<{name}, [{', '.join(dims)}]>" if dims else name
    if kind == "listType":
        return f"list<{ty(t.listType.type)}, {dim(t.listType.length)}>"
    if kind == "tupleType":
        return f"tuple<{', '.join(map(ty, t.tupleType.types))}>"
    if kind == "dictionaryType":
        return f"dict<{ty(t.dictionaryType.keyType)}, {ty(t.dictionaryType.valueType)}>"
    return f"state<{ty(t.stateType.wrappedType)}>"


def quoted(s):
    return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'


def elements(t, value):
    kind = value.WhichOneof("value")
    shape = [d.constant.size for d in t.dimensions]
    if kind != "bytes":
        return getattr(value, kind).values if kind else [], shape
    raw = value.bytes.values
    if t.dataType in BITS:
        bits, count = BITS[t.dataType], int(np.prod(shape))
        flat = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: bits * count].reshape(count, bits)
        numbers = flat.astype(np.int64) @ (1 << np.arange(bits))
        if t.dataType == P.INT4:
            numbers = np.where(numbers > 7, numbers - 16, numbers)
        return numbers.tolist(), shape
    return np.frombuffer(raw, BYTES[t.dataType]).tolist(), shape


def element(x):
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, str):
        return quoted(x)
    if isinstance(x, float):
        return x.hex() if np.isfinite(x) else str(x)
    return str(x)


def rows(items, shape):
    if not shape:
        return items[0]
    step = len(items) // shape[0] if shape[0] else 0
    return "[" + ", ".join(rows(items[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])) + "]"


def immediate(t, v):
    kind = v.WhichOneof("value")
    if kind == "tensor":
        items, shape = elements(t.tensorType, v.tensor)
        return rows([element(x) for x in items], shape)
    if kind == "list":
        return "[" + ", ".join(immediate(x.type, x.immediateValue) for x in v.list.values) + "]"
    if kind == "tuple":
        return "(" + ", ".join(immediate(x.type, x.immediateValue) for x in v.tuple.values) + ")"
    pairs = ("{" + immediate(x.key.type, x.key.immediateValue) + ", " + immediate(x.value.type, x.value.immediateValue) + "}"
             for x in v.dictionary.values)
    return "{" + ", ".join(pairs) + "}"


def literal(v):
    if v.WhichOneof("value") == "blobFileValue":
        blob = v.blobFileValue
        return f"{ty(v.type)}(BLOBFILE(path = string({quoted(blob.fileName)}), offset = uint64({blob.offset})))"
    return f"{ty(v.type)}({immediate(v.type, v.immediateValue)})"


def declared(named):
    return ", ".join(f"{ty(n.type)} {n.name}" for n in named)


def attributes(attrs):
    inner = ", ".join(f"{k} = {literal(attrs[k])}" for k in sorted(attrs))
    return f"[{inner}]" if inner else ""


def operation(o, indent):
    args = []
    for name in sorted(o.inputs):
        bound = [b.name if b.WhichOneof("binding") == "name" else literal(b.value) for b in o.inputs[name].arguments]
        single = len(bound) == 1 and (o.type, name) not in SEVERAL
        args.append(f"{name} = {bound[0] if single else '(' + ', '.join(bound) + ')'}")
    outputs = declared(o.outputs)
    out = f"{outputs} = " if outputs else ""
    out += f"{o.type}({', '.join(args)}){attributes(o.attributes)}"
    for b in o.blocks:
        out += f"\n{indent}    ({declared(b.inputs)}) {block(b, indent + '    ')}"
    return out + ";"


def block(b, indent):
    inside = indent + "        "
    lines = [inside + operation(o, inside) for o in b.operations]
    return "{\n" + "".join(line + "\n" for line in lines) + f"{indent}    }} -> ({', '.join(b.outputs)})"


def flexible(function, inputs):
    """The attribute for inputs whose sizes are open."""
    defaults, ranges, shapes = [], [], []
    for param in function.inputs:
        feature = next((f for f in inputs if f.name == param.name), None)
        if feature is None or "?" not in ty(param.type):
            continue
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            image = feature.type.imageType
            channels = param.type.tensorType.dimensions[1].constant.size
            default = [1, channels, image.height, image.width]
            size = image.imageSizeRange
            own = [[1, 1], [channels, channels], [size.heightRange.lowerBound, size.heightRange.upperBound],
                   [size.widthRange.lowerBound, size.widthRange.upperBound]]
            ranges.append(f'{{"{param.name}", {own}}}')
        else:
            array = feature.type.multiArrayType
            default = list(array.shape)
            if array.WhichOneof("ShapeFlexibility") == "shapeRange":
                own = [[r.lowerBound, r.upperBound] for r in array.shapeRange.sizeRanges]
                ranges.append(f'{{"{param.name}", {own}}}')
            else:
                own = array.enumeratedShapes.shapes
                shapes += [f'{{"shape_{i}", {{{{"{param.name}", {list(s.shape)}}}}}}}' for i, s in enumerate(own)]
        defaults.append(f'{{"{param.name}", {default}}}')
    if not defaults:
        return ""
    kinds = ["dict<string, tensor<int32, [?]>>"]
    values = [f'("DefaultShapes", {{{", ".join(defaults)}}})']
    if ranges:
        kinds.append("dict<string, list<tensor<int32, [2]>, ?>>")
        values.append(f'("RangeDims", {{{", ".join(ranges)}}})')
    if shapes:
        kinds.append("dict<string, dict<string, tensor<int32, [?]>>>")
        values.append(f'("EnumeratedShapes", {{{", ".join(shapes)}}})')
    tuples = ", ".join(f"tuple<string, {k}>" for k in kinds)
    return f" [FlexibleShapeInformation = tuple<{tuples}>(({', '.join(values)}))]"


def text(spec):
    """The program of a model file as text."""
    program = spec.mlProgram
    out = f"program(1.3)\n{attributes(program.attributes)}\n{{\n"
    # A map has no order: the default function is first, as it runs unless another is named.
    for name in sorted(program.functions, key=lambda n: (n != spec.description.defaultFunctionName, n)):
        f = program.functions[name]
        own = next((d for d in spec.description.functions if d.name == name), spec.description)
        out += f"    func {name}<{OPSETS[f.opset]}>({declared(f.inputs)}){flexible(f, own.input)} "
        out += block(f.block_specializations[f.opset], "    ") + ";\n"
    return out + "}\n"


# What follows reads the programs in ../generated, which have one function and no nested blocks.

NUMPY = {"fp16": np.float16, "fp32": np.float32, "int8": np.int8, "uint8": np.uint8, "int16": np.int16,
         "uint16": np.uint16, "int32": np.int32, "bool": np.bool_, "string": np.str_}


def record(path, offset, name, shape):
    """The tensor whose record is at `offset` of a weight file."""
    data = open(path, "rb").read()
    size, start = np.frombuffer(data, "<u8", 2, offset + 8)
    raw = np.frombuffer(data, np.uint8, int(size), int(start))
    if name == "uint4":
        both = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: int(np.prod(shape))]
        return both.astype(types.np_uint4_dtype).reshape(shape)
    return raw.view(NUMPY[name]).reshape(shape)


def constant(written, folder):
    """A typed literal as NumPy has it."""
    head, inner = re.fullmatch(r"(tensor<.*?>|\w+)\((.*)\)", written).groups()
    tensor = re.fullmatch(r"tensor<(\w+), \[(.*)\]>", head)
    name, shape = (tensor[1], [int(n) for n in tensor[2].split(", ")]) if tensor else (head, [])
    blob = re.fullmatch(r'BLOBFILE\(path = string\("@model_path/(.*)"\), offset = uint64\((\d+)\)\)', inner)
    if blob:
        return record(folder / blob[1], int(blob[2]), name, shape)
    if name == "string":
        return inner.strip('"')
    words = re.findall(r"[^\s\[\],]+", inner)
    number = {"bool": lambda w: w == "true", "fp16": float.fromhex, "fp32": float.fromhex}.get(name, int)
    values = np.array([number(w) for w in words], NUMPY[name])
    return values.reshape(shape) if shape else NUMPY[name](values[0])


def split(listed):
    """At commas outside brackets and quotes."""
    parts, depth, start, inside = [], 0, 0, False
    for i, c in enumerate(listed):
        inside ^= c == '"'
        depth += 0 if inside else (c in "([<{") - (c in ")]>}")
        if c == "," and depth == 0 and not inside:
            parts.append(listed[start:i].strip())
            start = i + 1
    last = listed[start:].strip()
    return parts + [last] if last else parts


def statements(source):
    """Results with their types, operation, arguments and attributes of each statement."""
    for line in source.splitlines():
        found = re.fullmatch(r"\s+(.*?) = (\w+)\((.*?)\)(?:\[(name = .*|axis = .*)\])?;", line)
        if found:
            results, op, args, attrs = found.groups()
            yield ([r.rsplit(" ", 1)[1] for r in split(results)], op,
                   dict(a.split(" = ", 1) for a in split(args)), dict(a.split(" = ", 1) for a in split(attrs or "")))
