//! The cost of an explanation over plain inference, on the same engine and machine.

use std::{thread, time::Duration};

use web_time::Instant;

use crate::Result;

/// ONNX Runtime's threads spin for about 27 ms after a run. Each measured run begins when the threads of the run before it
/// sleep.
const PAUSE: Duration = Duration::from_millis(45);

/// Runs of each kind before the measurement.
const WARM_UP: usize = 3;

/// The median and the quartiles of several measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// The median: half of the measurements lie below.
    pub median: f64,
    /// The first quartile: a quarter lies below.
    pub low: f64,
    /// The third quartile: a quarter lies above.
    pub high: f64,
}

impl Spread {
    /// The spread of some numbers, by the nearest rank; NaN where there are none.
    pub fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len().saturating_sub(1);
        let at = |quarters: usize| {
            let rank = (last * quarters + 2) / 4;
            numbers.get(rank).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(2), low: at(1), high: at(3) }
    }

    /// The interquartile range.
    pub fn iqr(&self) -> f64 {
        self.high - self.low
    }
}

/// Times of plain inference and explanation, measured in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cost {
    /// Milliseconds of plain inference.
    pub plain: Spread,
    /// Milliseconds of an explanation, the prediction included.
    pub explained: Spread,
    /// The ratio of explanation to inference, pair by pair, so that a drift of the machine's speed cancels.
    pub ratio: Spread,
}

impl Cost {
    /// Runs both in turn, `pairs` times.
    ///
    /// # Errors
    /// The first error of a run.
    pub fn of(
        pairs: usize,
        mut plain: impl FnMut() -> Result<()>,
        mut explain: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        for _ in 0..WARM_UP {
            timed(&mut plain)?;
            timed(&mut explain)?;
        }
        let (mut plains, mut explained, mut ratios) = (vec![], vec![], vec![]);
        for pair in 0..pairs {
            // The order alternates, so that neither always profits from the other's caches.
            let (a, b) = if pair % 2 == 0 {
                let a = timed(&mut plain)?;
                (a, timed(&mut explain)?)
            } else {
                let b = timed(&mut explain)?;
                (timed(&mut plain)?, b)
            };
            plains.push(a);
            explained.push(b);
            ratios.push(b / a);
        }
        let [plain, explained, ratio] = [plains, explained, ratios].map(Spread::of);
        Ok(Self { plain, explained, ratio })
    }
}

/// The milliseconds of a run that begins after the pause.
fn timed(run: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    // WebAssembly has no ONNX Runtime, and its only thread cannot sleep.
    if !cfg!(target_family = "wasm") {
        thread::sleep(PAUSE);
    }
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// The peak resident memory of this process in bytes; `None` where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn quartiles_by_the_nearest_rank() {
        let of = |count: u8| Spread::of((0..count).rev().map(f64::from).collect());
        assert_eq!(of(31), Spread { median: 15.0, low: 8.0, high: 23.0 });
        assert_eq!(of(5), Spread { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(of(1), Spread { median: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(of(5).iqr(), 2.0);
        assert!(of(0).median.is_nan());
    }

    #[test]
    fn both_are_run_as_often() {
        let counts = [Cell::new(0), Cell::new(0)];
        let count = |which: usize| {
            counts[which].set(counts[which].get() + 1);
            Ok(())
        };
        assert!(Cost::of(2, || count(0), || count(1)).is_ok());
        assert_eq!(counts.map(Cell::into_inner), [WARM_UP + 2; 2]);
        let failing = Cost::of(2, || crate::error::bail!(Engine, "torn"), || Ok(()));
        assert_eq!(failing.map(|_| ()).map_err(|e| e.to_string()), Err("torn".to_owned()));
    }
}
