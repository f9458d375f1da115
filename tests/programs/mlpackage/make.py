"""Makes the packages in this folder with coremltools, and the text of each with a printer of its own.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py

The same versions make the same programs; only the order of maps and identifiers of packages differ from run to run.
"""

import re
import shutil
import sys
import warnings
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

from text import constant, split, statements, text

HERE = Path(__file__).parent
GENERATED = HERE.parent / "generated"
TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}
rng = np.random.default_rng(18)
warnings.filterwarnings("ignore")


def f16(*shape):
    return (rng.standard_normal(shape) / 4).astype(np.float16)


def save(name, model):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    package = folder / "model.mlpackage"
    model.save(str(package))
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    spec = ct.utils.load_spec(str(package))
    (folder / "model.mil").write_text(text(spec))


def convert(prog, opset, **more):
    return ct.convert(prog, convert_to="mlprogram", minimum_deployment_target=TARGETS[opset],
                      compute_precision=ct.precision.FLOAT32, skip_model_load=True, **more)


def built(name, opset, params, body, **more):
    """A program of one function; `params` are shapes and types by name."""
    specs = [mb.TensorSpec(shape=s, dtype=t) if t != "state" else mb.StateTensorSpec(s, dtype=types.fp16)
             for s, t in params.values()]
    names = ", ".join(params)
    scope = {"body": body}
    exec(f"def call({names}): return body({names})", scope)
    save(name, convert(mb.program(input_specs=specs, opset_version=TARGETS[opset])(scope["call"]), opset, **more))


def again(name):
    """A program of ../generated, operation by operation."""
    folder = GENERATED / name
    source = (folder / "model.mil").read_text()
    opset, params = re.search(r"func main<(\w+)>\((.*)\)", source).groups()
    results = re.search(r"\} -> \((.*)\);?", source)[1].split(", ")
    kinds = {"int32": types.int32, "fp16": types.fp16, "fp32": types.fp32}
    inputs = {}
    for param in split(params):
        kind, shape, own = re.fullmatch(r"tensor<(\w+), \[(.*)\]> (\w+)", param).groups()
        inputs[own] = ([int(n) for n in shape.split(", ")], kinds[kind])

    def body(*given):
        values = dict(zip(inputs, given))

        def value(written):
            if written.startswith("("):
                return [value(w) for w in split(written[1:-1])]
            return values[written] if re.fullmatch(r"[a-zA-Z_]\w*", written) else constant(written, folder)

        for outputs, op, args, attrs in statements(source):
            if op == "const":
                values[outputs[0]] = mb.const(val=constant(attrs["val"], folder), name=outputs[0])
                continue
            attrs.pop("name", None)
            made = getattr(mb, op)(**{k: value(v) for k, v in (args | attrs).items()}, name=outputs[0])
            for own, var in zip(outputs, made if isinstance(made, (list, tuple)) else [made]):
                values[own] = var
        return [values[r] for r in results]

    built(name, opset, inputs, body, pass_pipeline=ct.PassPipeline.EMPTY)


def flexible():
    def relu(x):
        return mb.relu(x=mb.linear(x=x, weight=f16(8, 16)), name="y")

    tensor = lambda shape: ct.TensorType(name="x", shape=shape, dtype=np.float16)
    open_rows = {"x": ((get_new_symbol(), 16), types.fp16)}
    built("range-ios17", "ios17", open_rows, relu, inputs=[tensor((ct.RangeDim(1, 32, default=4), 16))])
    shapes = ct.EnumeratedShapes([[2, 16], [4, 16], [8, 16]], default=[4, 16])
    built("enumerated-ios18", "ios18", open_rows, relu, inputs=[tensor(shapes)])

    def conv(image):
        return mb.conv(x=mb.mul(x=image, y=np.float32(1 / 255)), weight=rng.standard_normal((4, 3, 3, 3)).astype("f4"),
                       pad_type="same", name="y")

    sizes = ct.Shape((1, 3, ct.RangeDim(8, 64, default=16), ct.RangeDim(8, 32, default=12)))
    built("image-ios16", "ios16", {"image": ((1, 3, get_new_symbol(), get_new_symbol()), types.fp32)}, conv,
          inputs=[ct.ImageType(name="image", shape=sizes)])


def control():
    def loop(x, n):
        n = mb.squeeze(x=n)

        def cond(i, a):
            return mb.less(x=i, y=n)

        def step(i, a):
            return mb.add(x=i, y=1), mb.mul(x=mb.tanh(x=a), y=np.float32(1.5))

        count, y = mb.while_loop(_cond=cond, _body=step, loop_vars=(0, x))
        large = mb.greater(x=mb.reduce_max(x=y, keep_dims=False), y=np.float32(1))
        return mb.cond(pred=large, _true_fn=lambda: mb.sub(x=y, y=np.float32(1)), _false_fn=lambda: mb.add(x=y, y=y),
                       name="y"), count

    built("control-ios15", "ios15", {"x": ((2, 3), types.fp32), "n": ((1,), types.int32)}, loop)

    def lists(x):
        held = mb.make_list(init_length=2, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        held = mb.list_write(ls=held, index=0, value=mb.relu(x=x))
        held = mb.list_write(ls=held, index=1, value=x)
        return mb.list_gather(ls=held, indices=[1, 0], name="y")

    built("list-ios16", "ios16", {"x": ((3,), types.fp32)}, lists)


def others():
    def cache(x, cache):
        held = mb.read_state(input=cache)
        new = mb.coreml_update_state(state=cache, value=mb.add(x=held, y=x))
        return mb.matmul(x=new, y=new, transpose_y=True, name="y")

    built("state-ios18", "ios18", {"x": ((4, 8), types.fp16), "cache": ((4, 8), "state")}, cache)

    def classes(x):
        return mb.softmax(x=mb.linear(x=x, weight=rng.standard_normal((3, 8)).astype("f4")), axis=-1, name="p")

    built("classifier-ios15", "ios15", {"x": ((1, 8), types.fp32)}, classes,
          classifier_config=ct.ClassifierConfig(["a cat", "a \"dog\"", "a\\b"]))

    def blockwise(x):
        data = rng.integers(-8, 8, (8, 32)).astype(types.np_int4_dtype)
        small = np.array([[-8, 7, 1, -1, 3]]).astype(types.np_int4_dtype)
        w = mb.constexpr_blockwise_shift_scale(data=data, scale=np.abs(f16(8, 4)) + np.float16(0.01))
        few = mb.constexpr_blockwise_shift_scale(data=small, scale=np.array([[0.5]], np.float16))
        return mb.concat(values=[mb.linear(x=x, weight=w), mb.add(x=few, y=few)], axis=1, name="y")

    built("int4-ios18", "ios18", {"x": ((1, 32), types.fp16)}, blockwise)

    def sparse(x):
        dense = f16(6, 16) * rng.integers(0, 2, (6, 16))
        mask = np.packbits((dense != 0).reshape(-1), bitorder="little")
        w = mb.constexpr_sparse_to_dense(nonzero_data=dense[dense != 0].astype(np.float16), mask=mask,
                                         shape=np.array(dense.shape, np.uint32))
        return mb.linear(x=x, weight=w, name="y")

    built("sparse-ios16", "ios16", {"x": ((2, 16), types.fp16)}, sparse)

    def recurrent(x):
        h = np.zeros((1, 4), np.float32)
        y, last, cell = mb.lstm(x=x, initial_h=h, initial_c=h, weight_ih=rng.standard_normal((16, 5)).astype("f4"),
                                weight_hh=rng.standard_normal((16, 4)).astype("f4"), output_sequence=True)
        return mb.identity(x=y, name="y"), mb.identity(x=cell, name="cell")

    built("lstm-ios15", "ios15", {"x": ((3, 1, 5), types.fp32)}, recurrent)

    def attention(q, k, v):
        mask = np.triu(np.full((8, 8), -np.inf, np.float16), 1)
        return mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=mask, name="y")

    heads = ((1, 2, 8, 16), types.fp16)
    built("attention-ios18", "ios18", {"q": heads, "k": heads, "v": heads}, attention)

    def numbers(x):
        order = mb.const(val=np.array([3, 1, 0, 2], np.uint16))
        small = mb.cast(x=mb.const(val=np.array([-3, 4], np.int8)), dtype="fp16")
        wide = mb.cast(x=mb.const(val=np.array([-300, 40000 - 65536], np.int16)), dtype="fp32")
        best, at = mb.topk(x=mb.gather(x=x, indices=order, axis=0), k=2, axis=0)
        odd = mb.const(val=np.array([np.inf, -0.0, 6e-8, 65504], np.float16))
        return (mb.add(x=best, y=small, name="y"), mb.cast(x=at, dtype="int32", name="at"), mb.identity(x=wide, name="w"),
                mb.minimum(x=x, y=odd, name="o"))

    built("numbers-ios17", "ios17", {"x": ((4,), types.fp16)}, numbers, pass_pipeline=ct.PassPipeline.EMPTY)

    def network(x):
        y = mb.conv(x=x, weight=rng.standard_normal((4, 3, 3, 3)).astype("f4"), pad_type="same", strides=[2, 2])
        y = mb.batch_norm(x=y, mean=np.zeros(4, "f4"), variance=np.ones(4, "f4"), gamma=np.full(4, 2, "f4"),
                          beta=np.full(4, 0.5, "f4"))
        y = mb.max_pool(x=mb.relu(x=y), kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
        return mb.reduce_mean(x=y, axes=[2, 3], keep_dims=False, name="y")

    built("convnet-ios15", "ios15", {"x": ((1, 3, 12, 12), types.fp32)}, network)

    weight = f16(8, 8)
    prog = Program()
    for name, scale in (("first", 1), ("second", 2)):
        with Function({"x": mb.placeholder((2, 8), dtype=types.fp16)}, opset_version=ct.target.iOS18) as f:
            out = mb.linear(x=f.inputs["x"], weight=weight * np.float16(scale), name="y")
            f.set_outputs([out])
        prog.add_function(name, f)
    prog.default_function_name = "first"
    prog.export_as_multifunction = True
    save("functions-ios18", convert(prog, "ios18"))


def main():
    for name in ("gpt-ios16", "gpt-ios18", "w-int8-affine-ios16", "w-lut4-ios18"):
        again(name)
    flexible()
    control()
    others()
    print(sum(f.stat().st_size for f in HERE.rglob("model*") if f.is_file()), file=sys.stderr)


if __name__ == "__main__":
    main()
