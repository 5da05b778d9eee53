//! The `gradcam` command.
fn main() {}
