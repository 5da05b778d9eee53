//! `cargo xtask proto`: generates the Rust types of the ONNX messages.

use anyhow::Result;

/// Restarts this program with the feature of the generator.
#[cfg(not(feature = "proto"))]
pub(crate) fn generate() -> Result<()> {
    crate::run::again("proto", &["proto"])
}

/// Writes crates/onnx-grad/src/proto/onnx.rs from the definition in the onnx Python package.
#[cfg(feature = "proto")]
pub(crate) fn generate() -> Result<()> {
    use anyhow::Context;

    use crate::{
        run::{cargo, run},
        tools,
    };

    const ONNX: &str = "1.23.2";
    const OUT: &str = "crates/onnx-grad/src/proto";

    if tools::python_folder("onnx", ONNX).is_err() {
        tools::python_package("onnx", ONNX)?;
    }
    let folder = tools::python_folder("onnx", ONNX)?;
    let descriptors = protox::compile(["onnx-ml.proto"], [&folder])
        .with_context(|| format!("cannot read onnx-ml.proto in {}", folder.display()))?;
    prost_build::Config::new().bytes(["."]).out_dir(OUT).compile_fds(descriptors)?;
    run(&mut cargo(["fmt", "--package", "onnx-grad"]))?;
    println!("wrote {OUT}/onnx.rs from ONNX {ONNX}");
    Ok(())
}
