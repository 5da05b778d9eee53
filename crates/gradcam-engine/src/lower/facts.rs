//! What a model declares about its values.

use std::collections::{HashMap, HashSet};

use onnx_grad::{
    Model,
    proto::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
};

use crate::tensor::type_of;

/// The element type and the dimensions of a value, as far as they are known.
type TensorType = (DataType, Option<Vec<Option<usize>>>);

/// Types, shapes and constants by name, of the graph and its subgraphs. ONNX forbids two values of one name where both
/// are visible.
pub(crate) struct Facts<'a> {
    pub(super) opset: i64,
    pub(super) proto: &'a ModelProto,
    pub(super) model: &'a Model,
    /// Whether products of 8-bit integers would saturate, so that they must be rewritten.
    pub(super) saturates: bool,
    types: HashMap<&'a str, TensorType>,
    constants: HashMap<&'a str, &'a TensorProto>,
    used: HashSet<&'a str>,
    /// Whether the model has a QuantizeLinear.
    pub(super) quantizes: bool,
    /// The outputs of QuantizeLinear nodes, with their zero points.
    quantized: HashMap<&'a str, &'a str>,
    /// The outputs of graphs, and the values that a node other than DequantizeLinear reads.
    read_as_integers: HashSet<&'a str>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(model: &'a Model, saturates: bool) -> Self {
        let mut facts = Self {
            opset: model.opset(),
            proto: model.proto(),
            model,
            saturates,
            types: HashMap::new(),
            constants: HashMap::new(),
            used: HashSet::new(),
            quantizes: false,
            quantized: HashMap::new(),
            read_as_integers: HashSet::new(),
        };
        facts.graph(model.graph());
        facts
    }

    fn graph(&mut self, graph: &'a GraphProto) {
        for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
            self.types.insert(value.name.as_deref().unwrap_or_default(), type_of(value));
        }
        self.used.extend(graph.output.iter().filter_map(|value| value.name.as_deref()));
        self.read_as_integers.extend(graph.output.iter().filter_map(|value| value.name.as_deref()));
        graph.initializer.iter().for_each(|tensor| self.constant(tensor.label(), tensor));
        for node in &graph.node {
            self.used.extend(node.input.iter().map(String::as_str));
            let standard = node.op_domain().is_empty();
            self.quantizes |= node.op().ends_with("QuantizeLinear");
            match (node.op(), node.input.as_slice(), node.output.as_slice()) {
                ("QuantizeLinear", [_, _, zero], [output]) if standard => {
                    self.quantized.insert(output, zero);
                }
                ("DequantizeLinear", ..) if standard => {}
                (_, inputs, _) => self.read_as_integers.extend(inputs.iter().map(String::as_str)),
            }
            if let (true, [output], Some(value)) =
                (node.op() == "Constant", node.output.as_slice(), node.attr("value"))
                && let Some(tensor) = &value.t
            {
                self.constant(output, tensor);
            }
            for attribute in &node.attribute {
                attribute.g.iter().chain(&attribute.graphs).for_each(|graph| self.graph(graph));
            }
        }
    }

    fn constant(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let dims = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        self.types.insert(name, (tensor.elem(), Some(dims)));
        self.constants.insert(name, tensor);
    }

    /// The element type of an input; `Undefined` if it is not known.
    pub(super) fn elem(&self, node: &NodeProto, input: usize) -> DataType {
        let fact = node.input.get(input).and_then(|name| self.types.get(name.as_str()));
        fact.map_or(DataType::Undefined, |(elem, _)| *elem)
    }

    /// The rank of an input, if it is known.
    pub(super) fn rank(&self, node: &NodeProto, input: usize) -> Option<usize> {
        self.dims(node.input.get(input)?).map(<[_]>::len)
    }

    /// The dimensions of a value, if its rank is known.
    pub(super) fn dims(&self, name: &str) -> Option<&[Option<usize>]> {
        self.types.get(name)?.1.as_deref()
    }

    /// The sizes of the axes of an input after the first two, if all are known.
    pub(super) fn spatial(&self, node: &NodeProto, input: usize) -> Option<Vec<usize>> {
        self.dims(node.input.get(input)?)?.get(2..)?.iter().copied().collect()
    }

    /// The numbers of an input, if it is a constant of integers or booleans.
    pub(super) fn ints(&self, node: &NodeProto, input: usize) -> Option<Vec<i64>> {
        let tensor = self.constants.get(node.input.get(input)?.as_str())?;
        let bytes = self.model.tensor_bytes(tensor).ok()?;
        match tensor.elem() {
            DataType::Int64 => {
                Some(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            DataType::Int32 => {
                let chunks = bytes.as_chunks::<4>().0.iter();
                Some(chunks.map(|b| i32::from_le_bytes(*b).into()).collect())
            }
            DataType::Bool => Some(bytes.into_iter().map(i64::from).collect()),
            _ => None,
        }
    }

    /// Whether a value is the signed output of a QuantizeLinear with a zero point, and only DequantizeLinear nodes read it.
    pub(super) fn is_signed_pair(&self, value: &str) -> bool {
        let zero = self.quantized.get(value).and_then(|zero| self.types.get(zero));
        zero.is_some_and(|(elem, _)| *elem == DataType::Int8)
            && !self.read_as_integers.contains(value)
    }

    /// Whether a node or the graph uses this output of a node.
    pub(super) fn is_used(&self, node: &NodeProto, output: usize) -> bool {
        let name = node.output.get(output).map_or("", String::as_str);
        !name.is_empty() && self.used.contains(name)
    }
}
