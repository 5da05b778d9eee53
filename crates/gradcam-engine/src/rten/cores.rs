//! Keeps the threads of a pool on cores of their own.
//!
//! Threads of rten sleep between runs, and Linux may wake them all on one core: measured on a virtual machine of two, MobileNetV2
//! then takes as long as with one thread for the first 70 ms, 19 ms instead of 11 for the first run. ONNX Runtime keeps its
//! threads on cores too.

use rten::ThreadPool;

/// Keeps each thread of a pool on a core of its own where the pool has one for every core that this process may use. A smaller
/// pool shares the machine with others, and the system knows better where there is room. Elsewhere than on Linux, nothing.
pub(super) fn spread(pool: &ThreadPool) {
    #[cfg(target_os = "linux")]
    pool.run(|| {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let Ok(usable) = sched_getaffinity(None) else { return };
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| usable.is_set(core)).collect();
        if cores.len() != rayon::current_num_threads() {
            return;
        }
        rayon::broadcast(|thread| {
            let mut own = CpuSet::new();
            own.set(cores[thread.index()]);
            // A system that refuses leaves the thread where it was, which is only slower.
            let _ = sched_setaffinity(None, &own);
        });
    });
    #[cfg(not(target_os = "linux"))]
    let _ = pool;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread::available_parallelism;

    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn only_a_pool_with_a_thread_for_every_core_is_spread() {
        let cores = available_parallelism().unwrap().get();
        let counts = |threads| {
            let pool = ThreadPool::with_num_threads(threads);
            spread(&pool);
            pool.run(|| rayon::broadcast(|_| sched_getaffinity(None).unwrap().count()))
        };
        assert_eq!(counts(cores), vec![1; cores]);
        assert_eq!(counts(cores + 1), vec![u32::try_from(cores).unwrap(); cores + 1]);
    }
}
