//! A process that is asked for blocks of runs, so that several systems are measured in turn, each in a process
//! of its own: `compare.py` does.
//!
//! It writes a line when it is ready. For each line that it reads, a number of runs, it writes a line with the
//! milliseconds of each run. Its input's end is its own.

use std::{
    io::{self, BufRead, Write},
    time::Instant,
};

use anyhow::Result;
use gradcam::{Explainer, TargetSpec};

/// What a worker runs.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Work {
    /// The model alone.
    Plain,
    /// Explanations.
    Explain,
}

/// Serves until the input ends.
pub(crate) fn serve(explainer: &Explainer, targets: &[TargetSpec], work: Work) -> Result<()> {
    let x = explainer.example()?;
    let inference = match work {
        Work::Plain => Some(explainer.inference(x.shape())?),
        Work::Explain => None,
    };
    let run = || -> gradcam::Result<()> {
        match &inference {
            Some(inference) => inference.run(x.view()).map(drop),
            None => explainer.explain_all(x.view(), targets).map(drop),
        }
    };
    run()?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..line?.trim().parse::<usize>()? {
            let started = Instant::now();
            run()?;
            times.push((started.elapsed().as_secs_f64() * 1e3).to_string());
        }
        writeln!(stdout, "{}", times.join(" "))?;
    }
    Ok(())
}
