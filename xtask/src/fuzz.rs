//! `cargo xtask fuzz`: runs the targets of `fuzz/` with a corpus from the repository's files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use onnx_grad::{
    Dim, Fact, Model,
    graph::declare,
    proto::{TensorProto, tensor_proto::DataType},
};
use prost::Message;
use testkit::{NETWORKS, fixture, rule_cases};

use crate::{run::run, tools};

const TARGETS: &[&str] = &["load", "differentiate", "image", "preprocess"];

/// Folders with images.
const PICTURES: &[&str] = &[
    "crates/gradcam-cli/assets",
    "crates/gradcam-image/tests/data/bad",
    "crates/gradcam-image/tests/data/exif",
    "crates/gradcam-image/tests/data/modes",
    "crates/testkit/fixtures/networks",
];

/// The bytes after an image that select the flags in the target `image`.
const FLAGS: [u8; 8] = [45, 1, 30, 1, 8, 200, 0x33, 5];

/// Runs one target, or all, for the given seconds each (default ten minutes); fails with the first finding.
pub(crate) fn fuzz(args: &[&str]) -> Result<()> {
    let known = TARGETS.join(", ");
    let (targets, seconds) = match args {
        [] => (TARGETS, "600"),
        [seconds] if seconds.parse::<u32>().is_ok() => (TARGETS, *seconds),
        [target, rest @ ..] if rest.len() < 2 => {
            let place = TARGETS.iter().position(|name| name == target);
            let place =
                place.with_context(|| format!("no target `{target}`; there are {known}"))?;
            (&TARGETS[place..=place], rest.first().copied().unwrap_or("600"))
        }
        _ => bail!("expected a target ({known}) and seconds"),
    };
    let seconds: u32 = seconds.parse().with_context(|| format!("`{seconds}` is not a number"))?;
    let cargo_fuzz = tools::cargo_fuzz()?;
    for target in targets {
        let corpus = corpus(target)?;
        // There is no unsafe code to sanitize, and stable Rust supports fuzzing without a sanitizer.
        run(Command::new(&cargo_fuzz)
            .args(["fuzz", "run", "--sanitizer", "none", "--target-dir", "target/fuzz", target])
            .arg(corpus)
            .args(["--", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-max_total_time={seconds}")))?;
    }
    Ok(())
}

/// Writes the seeds of a target to the folder where the fuzzer adds its findings; returns the folder.
fn corpus(target: &str) -> Result<PathBuf> {
    let folder = Path::new("target/fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    match target {
        "image" => {
            for from in PICTURES {
                copy(Path::new(from), &folder, &FLAGS, is_picture)?;
            }
        }
        "preprocess" => copy(Path::new("fuzz/seeds/preprocess"), &folder, &[], |_| true)?,
        _ => {
            models(&folder)?;
            copy(&fixture("bad_models"), &folder, &[], |_| true)?;
        }
    }
    Ok(folder)
}

/// All models of the fixtures: rules, and networks without weights.
fn models(folder: &Path) -> Result<()> {
    for case in rule_cases() {
        for variant in case.variants {
            fs::write(folder.join(format!("{}_{}", case.name, variant.opsets.0)), variant.model)?;
        }
    }
    for name in NETWORKS {
        let model = Model::open(fixture(&format!("networks/{name}.onnx")))?;
        fs::write(folder.join(name), model.to_bytes()?)?;
        fs::write(folder.join(format!("{name}_inputs")), weights_as_inputs(&model))?;
    }
    Ok(())
}

/// A network without weights as a complete model: its weights become inputs.
fn weights_as_inputs(model: &Model) -> Vec<u8> {
    let mut proto = model.proto().clone();
    let graph = proto.graph.get_or_insert_default();
    let missing = |tensor: &mut TensorProto| {
        tensor.elem() == DataType::Float
            && tensor.raw_data.is_none()
            && tensor.float_data.is_empty()
    };
    for tensor in graph.initializer.extract_if(.., missing) {
        let dims: Vec<Dim> = tensor.dims.iter().copied().map(Dim::Fixed).collect();
        graph.input.push(declare(tensor.label(), &Fact::new(tensor.elem(), dims)));
    }
    proto.encode_to_vec()
}

/// Copies the selected files of a folder, with a suffix of bytes.
fn copy(from: &Path, to: &Path, behind: &[u8], wanted: impl Fn(&Path) -> bool) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file() && wanted(&path)) {
            fs::write(to.join(name), [fs::read(&path)?.as_slice(), behind].concat())?;
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|kind| ["jpeg", "png", "webp"].iter().any(|known| kind == *known))
}
