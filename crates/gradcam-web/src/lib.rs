//! gradcam in a web page.
//!
//! A page talks to a web worker, and the worker to one [`PageState`], which holds what was dropped on the page: models, photos
//! and explanations, each by a number. Requests and answers are JSON; pictures and maps are arrays. This crate knows no page:
//! [`PageState`] is ordinary Rust, with tests of its own, and `bindings` is what JavaScript sees of it.

#[cfg(target_family = "wasm")]
mod bindings;
mod files;
mod hints;
mod model;
mod photo;
mod request;
mod state;

pub use files::DroppedFiles;
pub use model::ModelDescription;
pub use photo::Picture;
pub use request::{ExplainRequest, ExportRequest, MapRequest, ModelSettings, PictureStyle};
pub use state::{Explained, PageState, Plain};
