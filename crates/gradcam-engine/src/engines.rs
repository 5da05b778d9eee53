//! The table of the engines.

use std::{fmt, str::FromStr};

use super::{
    Engine, EngineConstructor, EngineOptions,
    error::{EngineError, EngineErrorKind, Result, bail},
    lower::{Dialect, Support},
    onnxruntime, rten,
};

/// One row of the table of engines.
pub struct EngineInfo {
    /// The engine.
    pub kind: EngineKind,
    /// The name on the command line and in JSON.
    pub id: &'static str,
    /// Where the engine comes from, in a few words for help texts.
    pub about: &'static str,
    /// The cargo feature that includes it in a build.
    pub feature: &'static str,
    /// Whether it has execution providers; see [`EngineOptions::provider`].
    pub providers: bool,
    /// Whether its sessions have a configuration; see [`EngineOptions::session_config`].
    pub session_config: bool,
    /// What it takes, lacks and computes wrongly.
    pub(crate) dialect: &'static Dialect,
    /// Constructs it; `None` if this build does not include it.
    new: Option<EngineConstructor>,
}

/// Defines [`EngineKind`] and [`ENGINES`] from the rows.
macro_rules! engines {
    ($($(#[$doc:meta])* $kind:ident { $($field:ident: $value:expr,)* })*) => {
        /// An engine, by its row in [`ENGINES`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EngineKind {
            $($(#[$doc])* $kind,)*
        }

        impl EngineKind {
            /// All engines, the default first.
            pub const ALL: [Self; ENGINES.len()] = [$(Self::$kind),*];
        }

        /// All engines, in the order of [`EngineKind::ALL`].
        pub const ENGINES: &[EngineInfo] = &[
            $(EngineInfo { kind: EngineKind::$kind, $($field: $value,)* },)*
        ];
    };
}

engines! {
    /// [rten](https://github.com/robertknight/rten), written in Rust and part of this crate.
    #[default]
    Rten {
        id: rten::ID,
        about: "built in",
        feature: "rten",
        providers: false,
        session_config: false,
        dialect: &rten::DIALECT,
        new: rten::NEW,
    }
    /// [ONNX Runtime](https://onnxruntime.ai), loaded from a shared library at run time.
    OnnxRuntime {
        id: onnxruntime::ID,
        about: "a shared library, taken where there is one",
        feature: "onnxruntime",
        providers: true,
        session_config: true,
        dialect: &onnxruntime::DIALECT,
        new: onnxruntime::NEW,
    }
}

impl EngineInfo {
    /// The name in messages and documents.
    pub fn name(&self) -> &'static str {
        self.dialect.engine
    }
}

impl fmt::Debug for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineInfo({})", self.id)
    }
}

impl EngineKind {
    /// The row of the engine.
    pub fn info(self) -> &'static EngineInfo {
        &ENGINES[self as usize]
    }

    /// The engine's id, [`EngineInfo::id`].
    pub fn name(self) -> &'static str {
        self.info().id
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        let info = ENGINES.iter().find(|info| info.id == text);
        info.map(|info| info.kind).ok_or_else(|| {
            let message = format!("no engine named \"{text}\"; there are: {}", ids(|_| true));
            EngineError::new(EngineErrorKind::Unavailable, message)
        })
    }
}

/// The ids of some engines, for messages.
fn ids(wanted: impl Fn(&EngineInfo) -> bool) -> String {
    let ids: Vec<_> = ENGINES.iter().filter(|info| wanted(info)).map(|info| info.id).collect();
    ids.join(", ")
}

/// Constructs an engine.
///
/// # Errors
/// `Unavailable` if this build does not include the engine, if the library of ONNX Runtime is not found or too old,
/// or if it lacks the execution provider.
pub fn engine(kind: EngineKind, options: &EngineOptions) -> Result<Box<dyn Engine>> {
    let info = kind.info();
    if let Some(provider) = options.provider.filter(|_| !info.providers) {
        bail!(
            Unavailable,
            "the engine {kind} has no execution provider \"{provider}\", nor any other; omit the \
             provider, or choose the engine {}",
            ids(|info| info.providers)
        );
    }
    if let Some((key, _)) = options.session_config.first().filter(|_| !info.session_config) {
        bail!(
            Unavailable,
            "the engine {kind} has no session configuration, so no entry \"{key}\"; omit the entry, or choose the \
             engine {}",
            ids(|info| info.session_config)
        );
    }
    let Some(new) = info.new else {
        let feature = info.feature;
        bail!(
            Unavailable,
            "this build has no engine {kind}: the cargo feature \"{feature}\" is off"
        );
    };
    new(options)
}

/// What an engine does with an operator of the standard, by the table that it compiles graphs with.
///
/// ```
/// use gradcam_engine::{EngineKind, support};
///
/// let hardmax = support(EngineKind::Rten, "Hardmax");
/// assert_eq!(hardmax.refuses, ["rten has no Hardmax"]);
/// ```
pub fn support(kind: EngineKind, op: &str) -> Support {
    kind.info().dialect.support(op)
}

#[cfg(test)]
mod tests;
