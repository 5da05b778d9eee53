//! A process that is asked for blocks of runs, so that several systems are measured in turn, each in a process
//! of its own: `compare.py` does.
//!
//! It writes a line when it is ready. For each line that it reads, what to run (`plain`, or a target such as `argmax`)
//! and how often, it writes a line with the milliseconds of each run. Its input's end is its own.

use std::{
    io::{self, BufRead, Write},
    time::Instant,
};

use anyhow::{Context, Result};
use gradcam::Explainer;

/// Serves until the input ends.
pub(crate) fn serve(explainer: &Explainer) -> Result<()> {
    let x = explainer.example()?;
    let inference = explainer.inference(x.shape())?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (what, runs) = line.split_once(' ').context("a line is WHAT RUNS")?;
        let target = match what {
            "plain" => None,
            target => Some(explainer.parse_target(target)?),
        };
        let mut times = Vec::new();
        for _ in 0..runs.trim().parse::<usize>()? {
            let started = Instant::now();
            match &target {
                None => inference.run(x.view()).map(drop)?,
                Some(target) => explainer.explain(&x, target.clone()).map(drop)?,
            }
            times.push((started.elapsed().as_secs_f64() * 1e3).to_string());
        }
        writeln!(stdout, "{}", times.join(" "))?;
    }
    Ok(())
}
