//! Constructors of attributes, and a reader that records which attributes a rule reads.

use std::{cell::RefCell, collections::HashSet};

use crate::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType,
};

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An integer list attribute.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// A text attribute.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(value.as_bytes().to_vec().into()),
        ..attribute(name, AttributeType::String)
    }
}

/// A tensor attribute.
pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) }
}

/// Reads the attributes of a node and records which ones were read. The node is unsupported if a
/// rule leaves an attribute unread.
#[derive(Debug)]
pub(crate) struct AttributeReader {
    attributes: Vec<AttributeProto>,
    read: RefCell<HashSet<String>>,
}

impl AttributeReader {
    pub(crate) fn new(node: &NodeProto) -> Self {
        Self { attributes: node.attribute.clone(), read: RefCell::default() }
    }

    fn get(&self, name: &str) -> Option<&AttributeProto> {
        self.read.borrow_mut().insert(name.to_owned());
        self.attributes.iter().find(|a| a.name.as_deref() == Some(name))
    }

    /// Marks attributes that cannot change the derivative as read.
    pub(crate) fn ignore(&self, names: &[&str]) {
        self.read.borrow_mut().extend(names.iter().map(|&name| name.to_owned()));
    }

    /// Copies all attributes for a node of the same operator.
    pub(crate) fn all(&self) -> Vec<AttributeProto> {
        let names = self.attributes.iter().filter_map(|a| a.name.clone());
        self.read.borrow_mut().extend(names);
        self.attributes.clone()
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.i
    }

    pub(crate) fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int_or(name, 0) != 0
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.get(name).map(|a| a.ints.as_slice())
    }

    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        self.get(name)?.f.map(f64::from)
    }

    pub(crate) fn float_or(&self, name: &str, default: f64) -> f64 {
        self.float(name).unwrap_or(default)
    }

    /// A list of floats; empty if it is absent.
    pub(crate) fn floats(&self, name: &str) -> &[f32] {
        self.get(name).map_or(&[], |a| a.floats.as_slice())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?.s.as_deref()?).ok()
    }

    /// A list of texts; empty if it is absent.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        let strings = self.get(name).map_or(&[][..], |a| a.strings.as_slice());
        strings.iter().filter_map(|text| std::str::from_utf8(text).ok()).collect()
    }

    /// A graph, such as the body of a loop.
    pub(crate) fn graph(&self, name: &str) -> Option<&GraphProto> {
        self.get(name)?.g.as_ref()
    }

    /// The attributes of the node that were not read.
    pub(crate) fn unread(&self) -> Vec<&AttributeProto> {
        let read = self.read.borrow();
        let unread = |a: &&AttributeProto| !read.contains(a.name.as_deref().unwrap_or_default());
        self.attributes.iter().filter(unread).collect()
    }
}

/// The value of an attribute as text, for messages.
pub(crate) fn show(attribute: &AttributeProto) -> String {
    match attribute.r#type.and_then(|t| AttributeType::try_from(t).ok()) {
        Some(AttributeType::Int) => attribute.i.unwrap_or_default().to_string(),
        Some(AttributeType::Float) => attribute.f.unwrap_or_default().to_string(),
        Some(AttributeType::Ints) => format!("{:?}", attribute.ints),
        Some(AttributeType::Floats) => format!("{:?}", attribute.floats),
        Some(AttributeType::String) => {
            format!("{:?}", String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default()))
        }
        _ => "a tensor or graph".to_owned(),
    }
}
