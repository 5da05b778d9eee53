//! `cargo xtask counts`: counts the instructions for setup, to detect regressions independent of machine load. It
//! uses rten, one thread, and each model's default layer.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use testkit::{fixture, network};

use crate::{
    run::{cargo, run},
    tools::version,
};

const BASELINE: &str = "crates/bench/instructions.json";

/// The maximum increase over the baseline in percent. Hash seeds vary the median of [`RUNS`] runs by less than half a
/// percent.
const BOUND: u64 = 2;

/// The number of runs for each median.
const RUNS: usize = 3;

/// Instructions by model and stage.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The baseline file.
#[derive(Deserialize, Serialize)]
struct Baseline {
    /// The compiler and counter versions; other versions give other counts.
    tools: String,
    counts: Counts,
}

/// Fails with all counts that exceed the baseline by too much.
pub(crate) fn compare() -> Result<()> {
    let text = fs::read_to_string(BASELINE).with_context(|| format!("cannot read {BASELINE}"))?;
    let old: Baseline = serde_json::from_str(&text).with_context(|| BASELINE.to_owned())?;
    let new = count()?;
    if old.tools != new.tools {
        println!(
            "{BASELINE} is of {}, this is {}: counts differ between tools",
            old.tools, new.tools
        );
    }
    let above = above(&old.counts, &new.counts);
    ensure!(
        above.is_empty(),
        "instructions more than {BOUND} % above {BASELINE}:\n{}\nfind the cause, or accept the counts with \
         cargo xtask counts --write",
        above.join("\n")
    );
    Ok(())
}

/// Writes the counts of this tree as the baseline.
pub(crate) fn write() -> Result<()> {
    fs::write(BASELINE, serde_json::to_string_pretty(&count()?)? + "\n")?;
    println!("wrote {BASELINE}");
    Ok(())
}

/// A line for each count that exceeds the baseline by too much or is not in it.
fn above(old: &Counts, new: &Counts) -> Vec<String> {
    let mut lines = Vec::new();
    for (model, stages) in new {
        for (stage, &now) in stages {
            let before = old.get(model).and_then(|stages| stages.get(stage)).copied();
            match before {
                None => lines.push(format!("{model}, {stage}: {now}, and there is no old count")),
                Some(before) if now * 100 > before * (100 + BOUND) => {
                    let percent = 100.0 * (now as f64 / before as f64 - 1.0);
                    lines.push(format!("{model}, {stage}: {now} over {before}, {percent:+.1} %"));
                }
                Some(_) => {}
            }
        }
    }
    lines
}

fn count() -> Result<Baseline> {
    let valgrind = version(&mut Command::new("valgrind")).context(
        "valgrind counts the instructions but does not start; install it, for example with \
         `apt install valgrind`",
    )?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = version(&mut Command::new(rustc)).context("rustc does not print its version")?;
    run(&mut cargo(["build", "--release", "--package", "bench"]))?;
    let mut counts = Counts::new();
    for (model, path) in models()? {
        let open = instructions(&path, "open")?;
        let ready = instructions(&path, "gradcam")?.saturating_sub(open);
        println!("{model}: open {open}, differentiate and compile {ready}");
        let stages = [("open", open), ("differentiate and compile", ready)];
        counts.insert(model.into(), stages.map(|(stage, count)| (stage.into(), count)).into());
    }
    Ok(Baseline { tools: format!("{rustc}, {valgrind}"), counts })
}

/// The built-in model with float16 weights, a transformer and a network with many nodes.
fn models() -> Result<[(&'static str, PathBuf); 3]> {
    let dense = PathBuf::from("target/counts/densenet121.onnx");
    fs::create_dir_all("target/counts")?;
    network("densenet121").0.save(&dense)?;
    Ok([
        ("densenet121", dense),
        ("efficientnet_lite0", "crates/gradcam-cli/assets/efficientnet_lite0.onnx".into()),
        ("swin.dynamo", fixture("zoo/swin.dynamo.onnx")),
    ])
}

/// The median instruction count of a process that loads the model, over all threads.
fn instructions(model: &Path, how: &str) -> Result<u64> {
    let mut counts = (0..RUNS).map(|_| once(model, how)).collect::<Result<Vec<u64>>>()?;
    counts.sort_unstable();
    Ok(counts[RUNS / 2])
}

fn once(model: &Path, how: &str) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "target/release/bench"])
        .args(["--load-child", how, "--engine", "rten"])
        .arg(model)
        .env("RTEN_NUM_THREADS", "1")
        .output()
        .context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} under valgrind ({}):\n{said}",
        model.display(),
        output.status
    );
    collected(&said).with_context(|| format!("valgrind prints no `Collected`:\n{said}"))
}

/// The count in callgrind's summary.
fn collected(said: &str) -> Option<u64> {
    let (_, count) = said.lines().find_map(|line| line.split_once("Collected : "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> Counts {
        [("a".to_owned(), [("open".to_owned(), count)].into())].into()
    }

    #[test]
    fn only_what_is_above_the_bound_is_listed() {
        for (before, now, listed) in [(1000, 1020, ""), (1000, 500, ""), (1000, 1021, "+2.1 %")] {
            let lines = above(&counts(before), &counts(now));
            assert_eq!(lines.len(), usize::from(!listed.is_empty()), "{lines:?}");
            assert!(lines.iter().all(|line| line.ends_with(listed)), "{lines:?}");
        }
        assert_eq!(above(&Counts::new(), &counts(1)).len(), 1);
    }

    #[test]
    fn the_count_is_read_from_the_summary() {
        let said = "==7== Events    : Ir\n==7== Collected : 182131665\n==7== \n";
        assert_eq!(collected(said), Some(182_131_665));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
