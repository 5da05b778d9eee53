//! A graph with side tables: the producer, the consumers and the facts of each value.
//!
//! The nodes are the ONNX messages. The model's nodes are never edited; new nodes are appended.

mod body;
mod declared;
mod inner;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use declared::{Input, declare, inputs, outputs_of};
use declared::{complete, initializer_fact, input_fact};

use crate::{
    error::{Error, ErrorKind, Result, bail},
    facts::{self, Dim, Fact},
    inline::NameTable,
    model::Model,
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType},
};

/// The index of a value in a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

/// The index of a node in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl ValueId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// The place of the node in topological order.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The source of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An input of the graph.
    Input,
    /// A constant of the model, with its index among the initializers.
    Initializer(usize),
    /// An output of a node.
    Node(NodeId),
}

#[derive(Clone, Debug)]
struct ValueRow {
    name: String,
    fact: Fact,
    origin: Origin,
    consumers: Vec<NodeId>,
}

#[derive(Clone, Debug)]
struct NodeRow {
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<Option<ValueId>>,
    /// Values of this graph that the node's subgraphs read.
    captures: Vec<ValueId>,
    /// The node that an appended node differentiates.
    source: Option<NodeId>,
}

/// Sizes of inputs that a model leaves open, by input name. A dim that is open both in the model
/// and here is the batch size if it is the first of its input, otherwise an error.
pub type Sizes = BTreeMap<String, Vec<Dim>>;

/// Emits what a node stands for, and says whether it did; otherwise the node is a part of the graph.
pub(crate) type Replacement = fn(&mut Graph, &NodeProto) -> Result<bool>;

/// A graph with its side tables.
#[derive(Clone, Debug)]
pub struct Graph {
    model: Model,
    body: GraphProto,
    opset: i64,
    values: Vec<ValueRow>,
    ids: HashMap<String, ValueId>,
    nodes: Vec<NodeRow>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// The number of the model's nodes; later nodes were appended.
    model_nodes: usize,
    /// The number of the model's initializers; later ones were appended.
    model_initializers: usize,
    /// Appended values that hold the same as one of the model.
    copies: HashMap<ValueId, ValueId>,
}

impl Graph {
    /// What [`Graph::new`] does, with `replace` called for every node.
    pub(crate) fn build(model: &Model, sizes: &Sizes, replace: Replacement) -> Result<Self> {
        let model = crate::inline::inline(model)?;
        let mut body = model.graph().clone();
        let nodes = std::mem::take(&mut body.node);
        let mut graph = Self {
            opset: model.opset(),
            values: Vec::with_capacity(nodes.len() * 2),
            ids: HashMap::with_capacity(nodes.len() * 2),
            nodes: Vec::with_capacity(nodes.len()),
            inputs: Vec::new(),
            outputs: Vec::new(),
            model_nodes: 0,
            model_initializers: 0,
            copies: HashMap::new(),
            body,
            model,
        };
        let initializers: Vec<Fact> = graph
            .body
            .initializer
            .iter()
            .map(|t| initializer_fact(&graph.model, t))
            .collect::<Result<_>>()?;
        for (index, fact) in initializers.into_iter().enumerate() {
            let name = graph.body.initializer[index].label().to_owned();
            graph.define(name, fact, Origin::Initializer(index))?;
        }
        for info in std::mem::take(&mut graph.body.input) {
            let name = info.name.clone().unwrap_or_default();
            // Before IR version 4, the inputs include the initializers.
            if !graph.ids.contains_key(&name) {
                let fact = input_fact(&info, sizes.get(&name).map(Vec::as_slice))?;
                let id = graph.define(name, fact, Origin::Input)?;
                graph.inputs.push(id);
                graph.body.input.push(info);
            }
        }
        for name in sizes.keys() {
            if !graph.ids.get(name).is_some_and(|id| graph.inputs.contains(id)) {
                let known: Vec<_> = graph.inputs.iter().map(|id| graph.name(*id)).collect();
                bail!(
                    UnknownValue,
                    "no input named \"{name}\"; the model has {}",
                    known.join(", ")
                );
            }
        }
        let by_name = |info: ValueInfoProto| Some((info.name.clone()?, info));
        let declared = std::mem::take(&mut graph.body.value_info);
        let outputs = graph.body.output.iter().cloned();
        let mut declared: HashMap<_, _> = outputs.chain(declared).filter_map(by_name).collect();
        let mut names = None;
        let mut open = nodes;
        open.reverse();
        while let Some(mut node) = open.pop() {
            let Some(taken) = graph.known_condition(&node) else {
                if !replace(&mut graph, &node)? {
                    graph.push_declared(node, &declared)?;
                }
                continue;
            };
            let names = names.get_or_insert_with(|| NameTable::of(graph.model.graph()));
            let branch = names.branch(&mut node, taken)?;
            for tensor in branch.initializers {
                graph.push_initializer(tensor)?;
            }
            declared.extend(branch.value_info.into_iter().filter_map(by_name));
            open.extend(branch.nodes.into_iter().rev());
        }
        for info in &graph.body.output {
            let name = info.name.as_deref().unwrap_or_default();
            let Some(&id) = graph.ids.get(name) else {
                bail!(InvalidModel, "the graph's output \"{name}\" has no producer");
            };
            graph.outputs.push(id);
        }
        graph.model_nodes = graph.nodes.len();
        graph.model_initializers = graph.body.initializer.len();
        Ok(graph)
    }

    fn define(&mut self, name: String, fact: Fact, origin: Origin) -> Result<ValueId> {
        if name.is_empty() {
            bail!(InvalidModel, "a value of the graph has no name");
        }
        let Ok(number) = u32::try_from(self.values.len()) else {
            bail!(TooLarge, "the graph has more than {} values", u32::MAX);
        };
        let id = ValueId(number);
        if self.ids.insert(name.clone(), id).is_some() {
            bail!(InvalidModel, "the value \"{name}\" is assigned twice");
        }
        self.values.push(ValueRow { name, fact, origin, consumers: Vec::new() });
        Ok(id)
    }

    /// Appends a node whose inputs exist, and infers the facts of its outputs.
    ///
    /// # Errors
    /// `InvalidModel` if an input does not exist or an output already exists.
    pub fn push(&mut self, node: NodeProto) -> Result<NodeId> {
        self.push_declared(node, &HashMap::new())
    }

    /// The condition of an `If`, if known.
    fn known_condition(&self, node: &NodeProto) -> Option<bool> {
        if node.op() != "If" || !node.op_domain().is_empty() {
            return None;
        }
        let condition = self.fact(self.find(node.input.first()?)?);
        match condition.ints()?.as_slice() {
            [number] => Some(*number != 0),
            _ => None,
        }
    }

    fn push_declared(
        &mut self,
        node: NodeProto,
        declared: &HashMap<String, ValueInfoProto>,
    ) -> Result<NodeId> {
        let Ok(number) = u32::try_from(self.nodes.len()) else {
            bail!(TooLarge, "the graph has more than {} nodes", u32::MAX);
        };
        let id = NodeId(number);
        let find = |name: &String| -> Result<Option<ValueId>> {
            if name.is_empty() {
                return Ok(None);
            }
            match self.ids.get(name) {
                Some(&id) => Ok(Some(id)),
                None => Err(Error::new(
                    ErrorKind::InvalidModel,
                    format!(
                        "node \"{}\" ({}) reads \"{name}\", which is not defined before",
                        node.label(),
                        node.op()
                    ),
                )
                .at_node(node.label())),
            }
        };
        let inputs = node.input.iter().map(find).collect::<Result<Vec<_>>>()?;
        let mut captured = HashSet::new();
        crate::inline::captured_names(&node, &mut captured);
        let mut captures: Vec<ValueId> =
            captured.iter().filter_map(|name| self.ids.get(*name).copied()).collect();
        captures.sort_unstable();
        let known: Vec<Option<&Fact>> =
            inputs.iter().map(|id| id.map(|id| &self.values[id.index()].fact)).collect();
        let facts = match body::facts(self, &node, &known) {
            Some(facts) => facts,
            None => facts::infer(&node, self.opset, &known),
        };
        let mut outputs = Vec::with_capacity(node.output.len());
        for (index, name) in node.output.iter().enumerate() {
            if name.is_empty() {
                outputs.push(None);
                continue;
            }
            let mut fact = facts.get(index).cloned().unwrap_or_default();
            if let Some(info) = declared.get(name) {
                complete(&mut fact, info);
            }
            outputs.push(Some(self.define(name.clone(), fact, Origin::Node(id))?));
        }
        let mut readers: Vec<ValueId> = inputs.iter().flatten().chain(&captures).copied().collect();
        readers.sort_unstable();
        readers.dedup();
        for value in readers {
            self.values[value.index()].consumers.push(id);
        }
        self.nodes.push(NodeRow { inputs, outputs, captures, source: None });
        self.body.node.push(node);
        Ok(id)
    }

    /// Appends a constant of the given type and dims.
    ///
    /// # Errors
    /// `InvalidModel` if the name exists.
    pub fn push_initializer(&mut self, tensor: TensorProto) -> Result<ValueId> {
        let fact = initializer_fact(&self.model, &tensor)?;
        let id = self.define(
            tensor.label().to_owned(),
            fact,
            Origin::Initializer(self.body.initializer.len()),
        )?;
        self.body.initializer.push(tensor);
        Ok(id)
    }

    /// Appends an input of the given type and shape.
    ///
    /// # Errors
    /// `InvalidModel` if the name exists.
    pub fn push_input(&mut self, name: &str, elem: DataType, shape: Vec<Dim>) -> Result<ValueId> {
        let fact = Fact::new(elem, shape);
        let info = declare(name, &fact);
        let id = self.define(name.to_owned(), fact, Origin::Input)?;
        self.inputs.push(id);
        self.body.input.push(info);
        Ok(id)
    }

    /// Gives a value a second name, through an Identity.
    ///
    /// # Errors
    /// `InvalidModel` if the name exists.
    pub fn alias(&mut self, value: ValueId, name: &str) -> Result<ValueId> {
        self.push(NodeProto {
            input: vec![self.name(value).to_owned()],
            output: vec![name.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        })?;
        self.value(name)
    }

    /// The model from which the graph was created.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The message of the main graph, including appended nodes.
    pub(crate) fn body(&self) -> &GraphProto {
        &self.body
    }

    /// The message of the main graph without what was appended, and without declarations of inner values.
    pub(crate) fn own_body(&self) -> GraphProto {
        let declared: HashSet<&str> =
            self.model.graph().input.iter().filter_map(|info| info.name.as_deref()).collect();
        let inputs = self.body.input.iter().filter(|info| declared.contains(info.name()));
        GraphProto {
            node: self.body.node[..self.model_nodes].to_vec(),
            initializer: self.body.initializer[..self.model_initializers].to_vec(),
            input: inputs.cloned().collect(),
            output: self.body.output.clone(),
            ..self.body.clone_header()
        }
    }

    /// The opset of the default domain.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The inputs without initializers.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs of the model.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeProto)> {
        (0u32..).map(NodeId).zip(&self.body.node)
    }

    /// Whether a node was appended after the model's own.
    pub(crate) fn is_appended(&self, id: NodeId) -> bool {
        id.index() >= self.model_nodes
    }

    /// Whether a value was appended after the model's own, by a node or as a constant.
    pub(crate) fn is_appended_value(&self, id: ValueId) -> bool {
        match self.origin(id) {
            Origin::Node(node) => self.is_appended(node),
            Origin::Initializer(index) => index >= self.model_initializers,
            Origin::Input => false,
        }
    }

    /// The appended value that holds the same as one of the model.
    pub(crate) fn copy_of(&self, value: ValueId) -> Option<ValueId> {
        self.copies.get(&value).copied()
    }

    /// Says that an appended value holds the same as one of the model.
    pub(crate) fn set_copy(&mut self, value: ValueId, copy: ValueId) {
        self.copies.insert(value, copy);
    }

    /// Says which node an appended node differentiates.
    pub(crate) fn set_source(&mut self, id: NodeId, source: Option<NodeId>) {
        self.nodes[id.index()].source = source;
    }

    /// The node that an appended node differentiates, if it belongs to the gradient of one.
    pub fn source(&self, id: NodeId) -> Option<NodeId> {
        self.nodes[id.index()].source
    }

    /// The number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The node with that index.
    pub fn node(&self, id: NodeId) -> &NodeProto {
        &self.body.node[id.index()]
    }

    /// The inputs of a node; `None` for an omitted optional input.
    pub fn node_inputs(&self, id: NodeId) -> &[Option<ValueId>] {
        &self.nodes[id.index()].inputs
    }

    /// The outputs of a node; `None` for an omitted optional output.
    pub fn node_outputs(&self, id: NodeId) -> &[Option<ValueId>] {
        &self.nodes[id.index()].outputs
    }

    /// The values of this graph that subgraphs of a node read.
    pub fn node_captures(&self, id: NodeId) -> &[ValueId] {
        &self.nodes[id.index()].captures
    }

    /// The inputs of a node, and behind them the values that its subgraphs read.
    pub(crate) fn node_operands(&self, id: NodeId) -> Vec<Option<ValueId>> {
        let captures = self.node_captures(id).iter().copied().map(Some);
        self.node_inputs(id).iter().copied().chain(captures).collect()
    }

    /// All values in order of creation.
    pub fn values(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0u32..).map(ValueId).take(self.values.len())
    }

    /// The value with that name.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.ids.get(name).copied()
    }

    /// The value with that name, or an error with similar names.
    ///
    /// # Errors
    /// `UnknownValue`.
    pub fn value(&self, name: &str) -> Result<ValueId> {
        self.find(name).ok_or_else(|| {
            let names = self.values.iter().map(|row| row.name.as_str());
            let hint = crate::closest::hint(name, names);
            Error::new(ErrorKind::UnknownValue, format!("no value named \"{name}\"{hint}"))
        })
    }

    /// The name of a value.
    pub fn name(&self, id: ValueId) -> &str {
        &self.values[id.index()].name
    }

    /// The facts of a value.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.values[id.index()].fact
    }

    /// The source of a value.
    pub fn origin(&self, id: ValueId) -> Origin {
        self.values[id.index()].origin
    }

    /// The node that produces a value.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        match self.origin(id) {
            Origin::Node(node) => Some(node),
            Origin::Input | Origin::Initializer(_) => None,
        }
    }

    /// The nodes that read a value, without duplicates, in topological order.
    pub fn consumers(&self, id: ValueId) -> &[NodeId] {
        &self.values[id.index()].consumers
    }

    /// The initializer of a value.
    pub fn initializer(&self, id: ValueId) -> Option<&TensorProto> {
        match self.origin(id) {
            Origin::Initializer(index) => self.body.initializer.get(index),
            Origin::Input | Origin::Node(_) => None,
        }
    }
}
