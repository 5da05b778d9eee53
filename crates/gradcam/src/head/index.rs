//! A value by name with an index, as NumPy writes it: `logits[:,3]`, `heatmap[0,17]`.

use std::{fmt, str::FromStr};

use onnx_grad::graph::{Graph, ValueId};

use crate::{Error, ErrorKind, Result, error::bail};

/// A value of the model, and the part of it that is summed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    /// The name of the value.
    pub(crate) name: String,
    /// The index of each axis, the images first; empty for the scores as they are.
    pub(crate) parts: Vec<Part>,
}

/// The index of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// One place; a negative one counts from the end.
    At(i64),
    /// The places from one to another, which is excluded.
    Range(Option<i64>, Option<i64>),
}

impl Selection {
    /// All of a value with so many axes.
    pub(super) fn whole(rank: usize) -> Self {
        Self { name: String::new(), parts: vec![Part::Range(None, None); rank] }
    }

    /// The places of an axis of `size`: from, and to.
    ///
    /// A negative place counts from the end.
    pub(crate) fn places(part: Part, size: i64) -> (i64, i64) {
        let place = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        match part {
            Part::At(at) => (place(at), place(at).saturating_add(1)),
            Part::Range(from, to) => {
                (from.map_or(0, place).max(0), to.map_or(size, place).min(size))
            }
        }
    }

    /// Checks the index against a value's shape, and completes it to all axes.
    pub(super) fn checked(&self, graph: &Graph, value: ValueId) -> Result<Self> {
        let Some(sizes) = graph.fact(value).sizes() else {
            bail!(Target, GiveSize; "the shape of \"{}\" is not known for inputs of this size", self.name)
        };
        if self.parts.len() > sizes.len() {
            bail!(
                Target,
                "\"{self}\" has {} indices, and \"{}\" has shape {sizes:?}",
                self.parts.len(),
                self.name
            );
        }
        if let Some(first) = self.parts.first()
            && !matches!(first, Part::Range(None, None) | Part::At(0))
        {
            bail!(
                Target,
                "the first index of \"{self}\" is the image, and every image is explained; write : there"
            );
        }
        for (axis, (part, size)) in self.parts.iter().zip(&sizes).enumerate().skip(1) {
            let (from, to) = Self::places(*part, *size);
            if from < 0 || from >= to || to > *size {
                bail!(
                    Target,
                    "\"{self}\": nothing is at index {axis} (counted from 0) of \"{}\" with shape {sizes:?}",
                    self.name
                );
            }
        }
        let mut parts = self.parts.clone();
        if let Some(first) = parts.first_mut() {
            *first = Part::Range(None, None);
        }
        parts.resize(sizes.len(), Part::Range(None, None));
        Ok(Self { name: self.name.clone(), parts })
    }
}

impl FromStr for Selection {
    type Err = Error;

    /// Reads a name, or a name with an index. A value whose name has brackets is meant as it is where no index follows.
    fn from_str(text: &str) -> Result<Self> {
        let plain = || Ok(Self { name: text.to_owned(), parts: Vec::new() });
        let Some((name, index)) = text.strip_suffix(']').and_then(|text| text.rsplit_once('['))
        else {
            return plain();
        };
        let wrong = || {
            Error::new(
                ErrorKind::Target,
                format!(
                    "\"{text}\" has no index that can be read; write one for each axis, such as {name}[:,3] or {name}[:,0,10:20]"
                ),
            )
        };
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| wrong()),
        };
        let part = |text: &str| match text.split_once(':') {
            Some((from, to)) => Ok(Part::Range(number(from)?, number(to)?)),
            None => number(text)?.map(Part::At).ok_or_else(wrong),
        };
        let parts = index.split(',').map(part).collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), parts })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.parts.is_empty() {
            return Ok(());
        }
        let number = |at: &Option<i64>| at.map_or(String::new(), |at| at.to_string());
        let parts = self.parts.iter().map(|part| match part {
            Part::At(at) => at.to_string(),
            Part::Range(from, to) => format!("{}:{}", number(from), number(to)),
        });
        write!(f, "[{}]", parts.collect::<Vec<_>>().join(","))
    }
}
