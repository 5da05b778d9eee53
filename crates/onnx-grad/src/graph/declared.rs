//! A model's declarations: its inputs, and the types and shapes of values.

use std::collections::HashSet;

use crate::{
    error::{Result, bail},
    facts::{self, DeclaredDim, Dim, Fact},
    model::Model,
    proto::{TensorProto, ValueInfoProto, tensor_proto::DataType},
};

/// An input as declared in a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// The element type; `Undefined` if the model declares none.
    pub elem: DataType,
    /// The dims; `None` if the model declares no shape.
    pub dims: Option<Vec<DeclaredDim>>,
}

/// The inputs of a model. Older files also list initializers among them, as defaults, which are not
/// included.
pub fn inputs(model: &Model) -> Vec<Input> {
    let body = model.graph();
    let constants: HashSet<&str> = body.initializer.iter().map(TensorProto::label).collect();
    let inputs = body.input.iter().filter_map(|info| {
        let name = info.name.clone().unwrap_or_default();
        let (elem, dims) = facts::declared(info).unwrap_or((DataType::Undefined, None));
        (!constants.contains(name.as_str())).then_some(Input { name, elem, dims })
    });
    inputs.collect()
}

/// The outputs of a model that are computed from a value.
pub fn outputs_of<'m>(model: &'m Model, value: &'m str) -> Vec<&'m str> {
    let body = model.graph();
    let mut found = HashSet::from([value]);
    for node in &body.node {
        let mut captured = HashSet::new();
        crate::inline::captured_names(node, &mut captured);
        let mut read = node.input.iter().map(String::as_str).chain(captured);
        if read.any(|name| found.contains(name)) {
            found.extend(node.output.iter().map(String::as_str).filter(|name| !name.is_empty()));
        }
    }
    let names = body.output.iter().filter_map(|info| info.name.as_deref());
    names.filter(|name| found.contains(name)).collect()
}

/// The message that declares a value with that name.
pub fn declare(name: &str, fact: &Fact) -> ValueInfoProto {
    use crate::proto::{
        TensorShapeProto, TypeProto, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
        type_proto,
    };
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(*size),
            batch @ Dim::Batch(_) => dimension::Value::DimParam(batch.to_string()),
        }),
        denotation: None,
    };
    let shape =
        fact.shape.as_ref().map(|shape| TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(fact.elem as i32), shape };
    ValueInfoProto {
        name: Some(name.to_owned()),
        // An unknown type is omitted: the number of `Undefined` is invalid.
        r#type: (fact.elem != DataType::Undefined).then_some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            denotation: None,
        }),
        doc_string: None,
        metadata_props: Vec::new(),
    }
}

/// The fact of a constant of the model.
pub(super) fn initializer_fact(model: &Model, tensor: &TensorProto) -> Result<Fact> {
    let bare = Fact::constant(tensor.elem(), &tensor.dims, &[]);
    if bare.keeps().is_none() {
        return Ok(bare);
    }
    match model.weight_of(tensor) {
        Some(weight) => Ok(Fact::constant(tensor.elem(), &tensor.dims, &weight.read()?)),
        None => Ok(Fact::of_tensor(tensor)),
    }
}

/// Completes an inferred fact from the model's declaration.
pub(super) fn complete(fact: &mut Fact, info: &ValueInfoProto) {
    let Some((elem, dims)) = facts::declared(info) else { return };
    if fact.elem == DataType::Undefined {
        fact.elem = elem;
    }
    if fact.shape.is_none() {
        let sizes = dims.unwrap_or(vec![DeclaredDim::Unknown]).into_iter().map(|dim| match dim {
            DeclaredDim::Size(size) => Some(Dim::Fixed(size)),
            DeclaredDim::Name(_) | DeclaredDim::Unknown => None,
        });
        fact.shape = sizes.collect();
    }
}

/// The fact of an input of the graph; `bound` are the sizes that the user sets.
pub(super) fn input_fact(info: &ValueInfoProto, bound: Option<&[Dim]>) -> Result<Fact> {
    let name = info.name.as_deref().unwrap_or_default();
    let Some((elem, dims)) = facts::declared(info) else {
        bail!(InvalidModel, "input \"{name}\" is not a tensor");
    };
    let shape = match (dims, bound) {
        (None, None) => bail!(Shape, "input \"{name}\" has no shape; give its sizes"),
        (None, Some(bound)) => bound.to_vec(),
        (Some(dims), bound) => {
            if let Some(bound) = bound
                && bound.len() != dims.len()
            {
                let (want, got) = (dims.len(), bound.len());
                bail!(Shape, "input \"{name}\" has {want} axes, the given shape has {got}");
            }
            let dim = |(axis, dim): (usize, &DeclaredDim)| -> Result<Dim> {
                match (dim, bound.map(|bound| bound[axis])) {
                    (DeclaredDim::Size(size), Some(given)) if given != Dim::Fixed(*size) => {
                        bail!(
                            Shape,
                            "input \"{name}\", axis {axis}: the model says {size}, given is {given}"
                        )
                    }
                    (_, Some(given)) => Ok(given),
                    (DeclaredDim::Size(size), None) => Ok(Dim::Fixed(*size)),
                    (_, None) if axis == 0 => Ok(Dim::Batch(1)),
                    (DeclaredDim::Name(symbol), None) => {
                        bail!(
                            Shape,
                            "input \"{name}\", axis {axis}: the size \"{symbol}\" is open; give it"
                        )
                    }
                    (DeclaredDim::Unknown, None) => {
                        bail!(Shape, "input \"{name}\", axis {axis}: the size is open; give it")
                    }
                }
            };
            dims.iter().enumerate().map(dim).collect::<Result<_>>()?
        }
    };
    Ok(Fact { elem, shape: Some(shape), value: None })
}
