//! The methods: a table of them, and for each a function that emits channel weights and map.

mod gradient;

use std::{fmt, str::FromStr};

use onnx_grad::{Want, builder::Builder, graph::ValueId};

use crate::{
    Result,
    error::{Error, ErrorKind},
};

/// A method, by its row in [`METHODS`].
#[derive(Clone, Copy)]
pub struct Method(&'static MethodInfo);

/// What a method emits: from the activation A [N, K, …] and its gradient (or the gradient's sum over
/// space, [N, K]) to channel weights [N, K] and the raw map [N, …].
type Emit = fn(&mut Builder<'_>, ValueId, ValueId) -> onnx_grad::Result<Emitted>;

/// The values that a method made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted {
    /// Channel weights, [N, K].
    pub(crate) weights: ValueId,
    /// The raw map, signed, [N, …].
    pub(crate) map: ValueId,
}

/// One row of the table of methods.
#[derive(Debug)]
pub struct MethodInfo {
    /// The name on the command line and in JSON.
    pub id: &'static str,
    /// The name in papers.
    pub name: &'static str,
    /// The raw map, before relu: A the activation, g its gradient, w the channel weights.
    pub formula: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What the method asks of the gradient.
    pub(crate) want: Want,
    pub(crate) emit: Emit,
}

/// All methods, the default first.
pub const METHODS: &[MethodInfo] = &[
    MethodInfo {
        id: "gradcam",
        name: "Grad-CAM",
        formula: "w_k = mean over space of g_k; map = Σ_k w_k A_k",
        paper: "Selvaraju et al. 2017, arXiv:1610.02391",
        want: Want::SpatialSum,
        emit: gradient::grad_cam,
    },
    MethodInfo {
        id: "hirescam",
        name: "HiResCAM",
        formula: "map = Σ_k g_k A_k",
        paper: "Draelos and Carin 2020, arXiv:2011.08891",
        want: Want::Full,
        emit: gradient::hires_cam,
    },
    MethodInfo {
        id: "layercam",
        name: "LayerCAM",
        formula: "map = Σ_k relu(g_k) A_k",
        paper: "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        want: Want::Full,
        emit: gradient::layer_cam,
    },
];

impl Method {
    /// Grad-CAM, the default.
    pub const GRAD_CAM: Self = Self(&METHODS[0]);

    /// The method's row.
    pub fn info(self) -> &'static MethodInfo {
        self.0
    }

    /// The method's name on the command line.
    pub fn id(self) -> &'static str {
        self.0.id
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::GRAD_CAM
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Method {}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        METHODS.iter().find(|row| row.id == text).map(Self).ok_or_else(|| {
            let names: Vec<_> = METHODS.iter().map(|row| row.id).collect();
            let message = format!("no method named \"{text}\"; there are: {}", names.join(", "));
            Error::new(ErrorKind::Method, message)
        })
    }
}
