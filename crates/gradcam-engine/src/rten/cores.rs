//! Binds the threads of a pool to cores.
//!
//! Threads of rten sleep between runs, and Linux may wake all of them on one core. Measured on a virtual machine with two
//! cores, MobileNetV2 is then as slow as with one thread for the first 70 ms: the first run takes 19 ms instead of 11. ONNX
//! Runtime binds its threads too.

use rten::ThreadPool;

/// Binds each thread of a pool to a core of its own if the pool has a thread for every core that this process may use. A
/// smaller pool shares the machine with others, so the system decides. Has no effect on systems other than Linux.
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
            // If the system refuses, the thread is not bound, which is only slower.
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
