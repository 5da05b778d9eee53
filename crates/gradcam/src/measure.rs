//! What an explanation costs over plain inference, on the same engine and machine.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::Result;

/// Threads of ONNX Runtime spin for about 27 ms after a run. Each run that is measured begins when those of
/// the run before are asleep.
const PAUSE: Duration = Duration::from_millis(45);

/// Runs of each kind that are not counted.
const WARM_UP: usize = 3;

/// The middle of several measurements, and how far apart they are.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// Half of them lie below.
    pub median: f64,
    /// The first quartile: a quarter lies below.
    pub low: f64,
    /// The third quartile: a quarter lies above.
    pub high: f64,
}

impl Spread {
    /// Of some numbers, with the nearest rank; NaN of none.
    pub fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len().saturating_sub(1);
        let at = |quarters: usize| {
            let rank = (last * quarters + 2) / 4;
            numbers.get(rank).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(2), low: at(1), high: at(3) }
    }

    /// The distance of the quartiles.
    pub fn iqr(&self) -> f64 {
        self.high - self.low
    }
}

/// Plain inference and explanation, measured in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cost {
    /// Milliseconds of plain inference.
    pub plain: Spread,
    /// Milliseconds of an explanation, the prediction included.
    pub explained: Spread,
    /// Explanation over inference, pair by pair, so that it holds where the machine's speed drifts.
    pub ratio: Spread,
}

impl Cost {
    /// Runs both in turn, so many times.
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
            // Who comes first alternates, so that neither always finds the other's caches.
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

/// Milliseconds of a run that begins after the pause.
fn timed(run: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    thread::sleep(PAUSE);
    let started = Instant::now();
    run()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// The most bytes of memory that this process has had at once; `None` where the system does not say.
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
