//! Infers the facts of a node's outputs from those of its inputs.
//!
//! One table has for each operator the type, the shape and, for shape arithmetic, the numbers of
//! its outputs. Inference never fails: an undetermined fact is unknown. Models can contain any
//! size, so all arithmetic is checked, and no allocation exceeds the limits of [`Fact`]'s numbers.
//!
//! Source of the rules: <https://onnx.ai/onnx/operators/>.

mod call;
mod create;
mod elementwise;
mod fold;
mod index;
mod layout;
mod linear;
mod pool;
mod reduce;
mod resize;
mod special;
mod table;
#[cfg(test)]
mod tests;

use call::{Dims, InferenceCall};
use table::{ElementType, InferenceRule, TABLE};

use super::{ConstantValue, Fact};
use crate::proto::{NodeProto, tensor_proto::DataType};

/// The maximum rank; no engine supports more axes. A shape with more axes is unknown.
const RANK_LIMIT: usize = 64;

/// The facts of the node's outputs, one for each; a default fact if nothing is known.
///
/// `inputs` are the facts of the node's inputs in order, `None` for an omitted input.
pub(crate) fn infer(node: &NodeProto, opset: i64, inputs: &[Option<&Fact>]) -> Vec<Fact> {
    let call = InferenceCall::new(node, opset, inputs);
    let mut facts = match rule_of(node) {
        Some(InferenceRule::One(elem, shape)) => vec![one(&call, *elem, *shape, None)],
        Some(InferenceRule::Folded(elem, shape, fold)) => {
            vec![one(&call, *elem, *shape, Some(*fold))]
        }
        Some(InferenceRule::All(elem, rule)) => rule(&call)
            .unwrap_or_else(|| vec![Fact { elem: elem_of(&call, *elem), ..Fact::default() }]),
        None => vec![],
    };
    facts.resize(node.output.len(), Fact::default());
    facts.into_iter().map(checked).collect()
}

fn rule_of(node: &NodeProto) -> Option<&'static InferenceRule> {
    if !node.op_domain().is_empty() {
        return None;
    }
    let at = TABLE.binary_search_by_key(&node.op(), |(op, _)| op).ok()?;
    TABLE.get(at).map(|(_, rule)| rule)
}

fn one(
    call: &InferenceCall,
    elem: ElementType,
    shape: fn(&InferenceCall) -> Option<Dims>,
    fold: Option<fn(&InferenceCall, &Fact) -> Option<ConstantValue>>,
) -> Fact {
    let fact = Fact { elem: elem_of(call, elem), shape: shape(call), value: None };
    let fact = checked(fact);
    let value = match (fold, fact.keeps()) {
        // Empty values are always known; the folds do not need to handle them.
        (_, Some(0)) if fact.elem.is_float() => Some(ConstantValue::Floats(vec![])),
        (_, Some(0)) => Some(ConstantValue::Ints(vec![])),
        (Some(fold), Some(_)) => fold(call, &fact),
        _ => None,
    };
    Fact { value, ..fact }
}

fn elem_of(call: &InferenceCall, elem: ElementType) -> DataType {
    match elem {
        ElementType::Of(input) => call.elem(input),
        ElementType::Is(elem) => elem,
        ElementType::Named(attribute, default) => match call.node.attr_int(attribute) {
            Some(number) => create::named_elem(number),
            None => default,
        },
        ElementType::NamedOrOf(attribute, input) => match call.node.attr_int(attribute) {
            Some(number) if number != 0 => create::named_elem(number),
            _ => call.elem(input),
        },
        ElementType::Quantized => match call.int("output_dtype", 0) {
            0 if call.has(2) => call.elem(2),
            0 => DataType::Uint8,
            number => create::named_elem(number),
        },
    }
}

/// Drops invalid shapes, and numbers that do not match the shape or the type.
fn checked(mut fact: Fact) -> Fact {
    fact.shape.take_if(|dims| dims.len() > RANK_LIMIT || !dims.iter().all(|dim| dim.is_size()));
    let count = fact.keeps();
    let value = fact.value.take().filter(|value| Some(value.len()) == count);
    fact.value = value.and_then(|value| fold::rounded(fact.elem, value));
    fact
}
