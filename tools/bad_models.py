# /// script
# requires-python = ">=3.10"
# dependencies = ["onnx==1.23.2", "numpy"]
# ///
"""Writes models with a fault that is made by hand: crates/testkit/fixtures/bad_models/<what is wrong>.onnx.

python tools/bad_models.py

Those that a fuzzer found lie beside them and are not written here: conv_of_unknown_shape,
gather_elements_of_other_rank, gemm_of_a_scalar, max_pool_endless_kernel, mul_of_three, shapes_that_do_not_broadcast.
crates/gradcam/tests/all/bad_models.rs says what becomes of each.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

FOLDER = Path(__file__).parent.parent / "crates/testkit/fixtures/bad_models"

F = T.FLOAT
rng = np.random.RandomState(0)


def w(name, *dims):
    return nh.from_array(((np.arange(int(np.prod(dims))) * 37 % 23 - 11) / 23).astype(np.float32).reshape(dims), name)


def ints(name, v):
    return nh.from_array(np.array(v, dtype=np.int64), name)


def info(n, d, e=F):
    return h.make_tensor_value_info(n, e, d)


STEM = [
    h.make_node("Conv", ["x", "w"], ["conv"], name="conv", pads=[1] * 4),
    h.make_node("Relu", ["conv"], ["act"], name="act"),
]


def head(a):
    return [
        h.make_node("GlobalAveragePool", [a], ["pool"], name="pool"),
        h.make_node("Flatten", ["pool"], ["flat"], name="flat"),
        h.make_node("Gemm", ["flat", "fc"], ["y"], name="fc_node", transB=1),
    ]


W = [w("w", 2, 3, 3, 3), w("fc", 5, 2)]


def model(nodes, init=W, inputs=None, outputs=None, opset=17, functions=(), imports=None):
    g = h.make_graph(nodes, "g", inputs or [info("x", [1, 3, 8, 8])], outputs or [info("y", [1, 5])], initializer=list(init))
    m = h.make_model(g, opset_imports=imports if imports is not None else [h.make_opsetid("", opset)], functions=list(functions))
    m.ir_version = 8
    m.producer_name = ""
    return m


def save(name, m):
    (FOLDER / f"{name}.onnx").write_bytes(m if isinstance(m, bytes) else m.SerializeToString())


base = model(STEM + head("act"))
s = base.SerializeToString()
save("empty", b"")
save("cut_in_half", s[: len(s) // 2])
save("random_bytes", rng.bytes(600))
save("zeros", b"\0" * 300)
save("endless_lengths", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + s[:50])


def ld(tag, p):
    n = len(p)
    v = b""
    while True:
        v += bytes([(n & 127) | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            break
    return bytes([tag << 3 | 2]) + v + p


p = b""
for _ in range(400):
    p = ld(1, ld(5, ld(6, p)))
save("subgraphs_400_deep", ld(8, b"")[:0] + b"\x08\x08" + ld(7, p) + ld(8, b"\x10\x11"))
save("no_nodes", model([]))


def edit(f):
    m = onnx.ModelProto()
    m.CopyFrom(base)
    f(m)
    return m


def E(name):
    def d(f):
        save(name, edit(f))
        return f

    return d


@E("value_assigned_twice")
def _(m):
    m.graph.node[1].output[0] = "conv"
    m.graph.node[2].input[0] = "conv"


@E("initializer_twice")
def _(m):
    m.graph.initializer.append(m.graph.initializer[0])


@E("input_twice")
def _(m):
    m.graph.input.append(m.graph.input[0])


@E("cycle")
def _(m):
    m.graph.node[0].input[0] = "act"


@E("reads_itself")
def _(m):
    m.graph.node[1].input[0] = "act"


@E("missing_input")
def _(m):
    m.graph.node[1].input[0] = "nothing"


@E("unsorted_nodes")
def _(m):
    n = list(m.graph.node)[::-1]
    del m.graph.node[:]
    m.graph.node.extend(n)


@E("output_of_nothing")
def _(m):
    m.graph.output[0].name = "nothing"


@E("no_output")
def _(m):
    del m.graph.output[:]


@E("no_input")
def _(m):
    del m.graph.input[:]


@E("node_without_operator")
def _(m):
    m.graph.node[1].ClearField("op_type")


@E("node_without_outputs")
def _(m):
    del m.graph.node[1].output[:]


@E("conv_without_weight")
def _(m):
    del m.graph.node[0].input[1:]


@E("pads_as_float")
def _(m):
    a = [a for a in m.graph.node[0].attribute if a.name == "pads"][0]
    a.Clear()
    a.name = "pads"
    a.type = 1
    a.f = 1.0


@E("trans_as_ints")
def _(m):
    a = m.graph.node[-1].attribute[0]
    a.Clear()
    a.name = "transB"
    a.type = 7
    a.ints.extend([1, 1])


@E("group_0")
def _(m):
    m.graph.node[0].attribute.append(h.make_attribute("group", 0))


@E("group_too_many")
def _(m):
    m.graph.node[0].attribute.append(h.make_attribute("group", 2**62))


@E("stride_0")
def _(m):
    m.graph.node[0].attribute.append(h.make_attribute("strides", [0, 0]))


@E("stride_huge")
def _(m):
    m.graph.node[0].attribute.append(h.make_attribute("strides", [2**63 - 1, 2**63 - 1]))


@E("pads_cancel_out")
def _(m):
    m.graph.node[0].attribute[0].ints[:] = [2**63 - 1, 1, -(2**63) + 3, 1]


@E("pads_three")
def _(m):
    m.graph.node[0].attribute[0].ints[:] = [1, 1, 1]


@E("auto_pad_unknown")
def _(m):
    m.graph.node[0].attribute.append(h.make_attribute("auto_pad", "SAME"))


@E("flatten_axis_beyond")
def _(m):
    m.graph.node[3].attribute.append(h.make_attribute("axis", 9))


@E("negative_dim")
def _(m):
    m.graph.initializer[0].dims[0] = -4


@E("huge_dim")
def _(m):
    m.graph.initializer[0].dims[0] = 2**63 - 1


@E("overflowing_dims")
def _(m):
    m.graph.initializer[0].dims[:] = [2**32, 2**32, 1, 1]


@E("too_few_weight_bytes")
def _(m):
    m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-4]


@E("too_few_weight_numbers")
def _(m):
    t = m.graph.initializer[1]
    t.ClearField("raw_data")
    t.float_data.extend([1.0, 2.0])


@E("weight_of_unknown_type")
def _(m):
    m.graph.initializer[0].data_type = 99


@E("weight_of_text")
def _(m):
    t = m.graph.initializer[0]
    t.data_type = T.STRING
    t.ClearField("raw_data")
    t.string_data.append(b"x")


def ext(name, loc, **kw):
    def f(m):
        t = m.graph.initializer[0]
        t.ClearField("raw_data")
        t.data_location = T.EXTERNAL
        for k, v in dict(location=loc, **kw).items():
            e = t.external_data.add()
            e.key = k
            e.value = v

    save(name, edit(f))


ext("external_above", "../weights.bin")
ext("external_absolute", "/etc/hostname")
ext("external_absent", "none.bin")
ext(
    "external_itself_beyond_its_end",
    "external_itself_beyond_its_end.onnx",
    offset=str(2**64 - 1),
    length=str(2**64 - 1),
)
ext("external_negative_offset", "external_negative_offset.onnx", offset="-1")


@E("external_without_location")
def _(m):
    t = m.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = T.EXTERNAL


@E("input_huge")
def _(m):
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**62


@E("input_negative")
def _(m):
    m.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -8


@E("input_without_type")
def _(m):
    m.graph.input[0].ClearField("type")


@E("input_of_text")
def _(m):
    m.graph.input[0].type.tensor_type.elem_type = T.STRING


@E("input_of_rank_1")
def _(m):
    del m.graph.input[0].type.tensor_type.shape.dim[1:]


@E("opset_0")
def _(m):
    m.opset_import[0].version = 0


@E("opset_9999")
def _(m):
    m.opset_import[0].version = 9999


@E("opset_negative")
def _(m):
    m.opset_import[0].version = -(2**63)


@E("opset_missing")
def _(m):
    del m.opset_import[:]


@E("opset_of_another_domain_only")
def _(m):
    m.opset_import[0].domain = "com.microsoft"


@E("opset_twice")
def _(m):
    m.opset_import.append(h.make_opsetid("ai.onnx", 9))


# If
yes = nh.from_array(np.array(True), "yes")
save("if_without_branches", model(STEM + [h.make_node("If", ["yes"], ["a2"], name="if")] + head("a2"), W + [yes]))
g0 = h.make_graph([], "b", [], [])
save(
    "if_with_empty_branches",
    model(STEM + [h.make_node("If", ["yes"], ["a2"], name="if", then_branch=g0, else_branch=g0)] + head("a2"), W + [yes]),
)
g1 = h.make_graph([], "b", [], [info("nothing", [1])])
save(
    "if_branch_of_nothing",
    model(STEM + [h.make_node("If", ["yes"], ["a2"], name="if", then_branch=g1, else_branch=g1)] + head("a2"), W + [yes]),
)
g2 = h.make_graph([h.make_node("Identity", ["a2"], ["q"])], "b", [], [info("q", [1])])
save(
    "if_branch_reads_its_result",
    model(STEM + [h.make_node("If", ["yes"], ["a2"], name="if", then_branch=g2, else_branch=g2)] + head("a2"), W + [yes]),
)
# functions
op = [h.make_opsetid("", 17), h.make_opsetid("own", 1)]


def fn(n, nodes, i=("a",), o=("b",)):
    return h.make_function("own", n, list(i), list(o), nodes, op)


call = lambda n, i="act", o="a2": h.make_node(n, [i], [o], domain="own", name=n)
save(
    "function_calls_itself",
    model(STEM + [call("F")] + head("a2"), functions=[fn("F", [call("F", "a", "b")])], imports=op),
)
save(
    "functions_call_each_other",
    model(
        STEM + [call("F")] + head("a2"),
        functions=[fn("F", [call("G", "a", "b")]), fn("G", [call("F", "a", "b")])],
        imports=op,
    ),
)
fs = [fn("F0", [h.make_node("Relu", ["a"], ["b"])])] + [
    fn(f"F{i}", [call(f"F{i - 1}", "a", "c"), call(f"F{i - 1}", "c", "b")]) for i in range(1, 40)
]
save("functions_double_40_times", model(STEM + [call("F39")] + head("a2"), functions=fs, imports=op))
save(
    "function_without_output",
    model(STEM + [call("F")] + head("a2"), functions=[fn("F", [h.make_node("Relu", ["a"], ["c"])])], imports=op),
)
save("function_unknown", model(STEM + [call("F")] + head("a2"), imports=op))
# memory
S = 200_000
big = [1, 1, S, S]


def grow(name, nodes, init):
    save(name, model(STEM + nodes + head("big"), W + init))


grow("huge_tile", [h.make_node("Tile", ["act", "n"], ["big"])], [ints("n", big)])
grow(
    "huge_expand",
    [h.make_node("GlobalMaxPool", ["act"], ["s"]), h.make_node("Expand", ["s", "n"], ["big"])],
    [ints("n", [1, 2, S, S])],
)
grow("huge_pad", [h.make_node("Pad", ["act", "n"], ["big"])], [ints("n", [0, 0, S, S, 0, 0, S, S])])
grow(
    "huge_constant_of_shape",
    [
        h.make_node("ConstantOfShape", ["n"], ["z"]),
        h.make_node("GlobalMaxPool", ["act"], ["s"]),
        h.make_node("Add", ["s", "z"], ["big"]),
    ],
    [ints("n", big)],
)
grow("huge_conv_pads", [h.make_node("Conv", ["act", "w1"], ["big"], pads=[S] * 4)], [w("w1", 2, 2, 1, 1)])
grow("huge_resize", [h.make_node("Resize", ["act", "", "", "n"], ["big"], mode="nearest")], [ints("n", [1, 2, S, S])])
grow(
    "huge_conv_transpose_stride",
    [h.make_node("ConvTranspose", ["act", "w1"], ["big"], strides=[S, S])],
    [w("w1", 2, 2, 1, 1)],
)
grow(
    "expand_beyond_64_bits",
    [h.make_node("GlobalMaxPool", ["act"], ["s"]), h.make_node("Expand", ["s", "n"], ["big"])],
    [ints("n", [1, 2, 2**62, 2**62])],
)
grow(
    "max_pool_of_a_million",
    [h.make_node("Pad", ["act", "n"], ["p"]), h.make_node("MaxPool", ["p"], ["big"], kernel_shape=[1000000, 1])],
    [ints("n", [0, 0, 1000000, 0, 0, 0, 0, 0])],
)
grow(
    "average_pool_of_a_million",
    [h.make_node("Pad", ["act", "n"], ["p"]), h.make_node("AveragePool", ["p"], ["big"], kernel_shape=[1000000, 1])],
    [ints("n", [0, 0, 1000000, 0, 0, 0, 0, 0])],
)
grow("reshape_to_another_count", [h.make_node("Reshape", ["act", "n"], ["big"])], [ints("n", [1, 2, 7, 8])])
grow(
    "slice_step_0",
    [h.make_node("Slice", ["act", "a", "b", "c", "d"], ["big"])],
    [ints("a", [0]), ints("b", [8]), ints("c", [2]), ints("d", [0])],
)
grow(
    "slice_step_lowest",
    [h.make_node("Slice", ["act", "a", "b", "c", "d"], ["big"])],
    [ints("a", [-1]), ints("b", [-(2**63)]), ints("c", [2]), ints("d", [-(2**63)])],
)
grow("transpose_same_axis_twice", [h.make_node("Transpose", ["act"], ["big"], perm=[0, 1, 2, 2])], [])
grow("concat_of_nothing", [h.make_node("Concat", [], ["big"], axis=1)], [])
grow("split_into_endless_parts", [h.make_node("Split", ["act"], ["big"], axis=1, num_outputs=2**63 - 1)], [])
