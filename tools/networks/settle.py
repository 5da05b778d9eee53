"""Keeps the inputs of rectifiers away from their kinks, where the rounding of float32 decides the gradient."""

import copy

import onnx
import torch

from .interpret import Network

# Several times float32's rounding of the inputs of rectifiers, and exact in float32.
MARGIN = 2**-12


def settled(model, x, first):
    """The model with a constant in front of each Clip behind the value `first`, which moves inputs within MARGIN of 0 or 6 to
    twice that distance and more; and by the Clip's output the places that move up and down."""
    model = copy.deepcopy(model)
    network = Network(model, torch.float64)
    network.begin(x)
    nodes, moves, is_behind = list(model.graph.node), {}, False
    del model.graph.node[:]
    for n in nodes:
        if is_behind and n.op_type == "Clip":
            v = network.values[n.input[0]]
            to = sum((v - bound).sign() * ((v - bound).abs() < MARGIN) for bound in (0, 6))
            if to.any():
                name = f"{n.output[0]}.moves"
                offset = (2 * MARGIN * to).float().numpy()
                add = onnx.helper.make_node("Add", [n.input[0], name], [f"{n.output[0]}.moved"])
                n.input[0] = add.output[0]
                network.values[name] = torch.tensor(offset).double()
                network.step(add)
                model.graph.node.append(add)
                model.graph.initializer.append(onnx.numpy_helper.from_array(offset, name))
                places = to.flatten()
                moves[n.output[0]] = {k: (places == way).nonzero()[:, 0].tolist() for k, way in (("up", 1), ("down", -1))}
        network.step(n)
        model.graph.node.append(n)
        is_behind |= first in n.output
    return model, moves
