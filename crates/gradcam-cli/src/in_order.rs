//! Work on several threads, whose results come in order.

use std::{
    collections::BTreeMap,
    panic::{self, AssertUnwindSafe},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Does the work for 0, 1, … up to `count` on several threads, and gives each result to `take`, in order and on this
/// thread.
///
/// At most twice as many results as threads are in progress or waiting, so that memory does not grow with `count`. After a
/// failure of `take`, no new work is begun.
pub(crate) fn in_order<T: Send, E>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    if count == 1 {
        return take(work(0));
    }
    let line = Line { state: Mutex::default(), changed: Condvar::new(), count, most: 2 * threads };
    thread::scope(|scope| {
        let _stop = Stop(&line);
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                while let Some(at) = line.begin() {
                    line.finish(at, panic::catch_unwind(AssertUnwindSafe(|| work(at))));
                }
            });
        }
        (0..count).try_for_each(|at| match line.wait(at) {
            Ok(done) => take(done),
            // It goes on here, as if the work had been done on this thread.
            Err(panic) => panic::resume_unwind(panic),
        })
    })
}

struct Line<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    count: usize,
    /// The most results that are begun and not taken.
    most: usize,
}

struct State<T> {
    begun: usize,
    taken: usize,
    done: BTreeMap<usize, thread::Result<T>>,
    stopped: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { begun: 0, taken: 0, done: BTreeMap::new(), stopped: false }
    }
}

impl<T> Line<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl FnMut(&mut State<T>) -> bool) -> MutexGuard<'_, State<T>> {
        self.changed.wait_while(self.state(), condition).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next to be done; none where all are begun or nobody takes them any more.
    fn begin(&self) -> Option<usize> {
        let full = |state: &mut State<T>| {
            !state.stopped && state.begun < self.count && state.begun - state.taken >= self.most
        };
        let mut state = self.wait_while(full);
        if state.stopped || state.begun >= self.count {
            return None;
        }
        state.begun += 1;
        Some(state.begun - 1)
    }

    fn finish(&self, at: usize, done: thread::Result<T>) {
        self.state().done.insert(at, done);
        self.changed.notify_all();
    }

    fn wait(&self, at: usize) -> thread::Result<T> {
        let mut state = self.wait_while(|state| !state.done.contains_key(&at));
        state.taken += 1;
        let done = state.done.remove(&at);
        drop(state);
        self.changed.notify_all();
        done.unwrap_or_else(|| Err(Box::new("a result was lost")))
    }
}

/// Stops the threads when the results are not taken any more, also by a panic.
struct Stop<'a, T>(&'a Line<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_and_few_are_held() {
        for threads in 1..6 {
            let (begun, taken, most) =
                (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            let work = |at: usize| {
                let held = begun.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(held.saturating_sub(taken.load(Ordering::SeqCst)), Ordering::SeqCst);
                // Late ones are done first.
                (0..(at * 7919) % 23).for_each(|_| thread::yield_now());
                at
            };
            let mut got = Vec::new();
            let done: Result<(), ()> = in_order(100, threads, work, |at| {
                got.push(at);
                taken.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            assert_eq!((done, got), (Ok(()), (0..100).collect()));
            // One that is taken is not counted yet while it is given to `take`.
            assert!(most.into_inner() <= 2 * threads + 1, "{threads} threads");
        }
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let work = |at| {
            begun.fetch_add(1, Ordering::SeqCst);
            at
        };
        let take = |at| if at < 3 { Ok(()) } else { Err(at) };
        assert_eq!(in_order(1000, 2, work, take), Err(3));
        assert!(begun.into_inner() <= 3 + 1 + 4 + 1);
        assert_eq!(in_order(0, 2, |at| at, Err), Ok(()));
    }

    #[test]
    fn a_panic_goes_on_where_results_are_taken() {
        let work = |at| if at == 5 { panic!("torn at {at}") } else { at };
        let mut got = 0;
        let run = AssertUnwindSafe(|| {
            in_order(50, 3, work, |_| {
                got += 1;
                Ok::<(), ()>(())
            })
        });
        let payload = panic::catch_unwind(run).expect_err("it panics");
        assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("torn at 5"));
        assert_eq!(got, 5);
    }
}
