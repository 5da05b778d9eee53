//! The memory limit. The memory of a run is known from the graph's facts before an engine sees it.
//!
//! A run above the limit is refused before it starts, because an engine that fails to allocate ends the process. Callers take
//! their share of the limit for photos, which they decode and draw.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use onnx_grad::{
    Model, op,
    proto::{ValueInfoProto, elem_type, tensor_shape_proto::dimension, type_proto},
};

use crate::{Result, error::bail};

/// Half of the memory that the process may use: that of the machine or of its container, whichever is less. 4 GiB where the
/// system does not say, and 2 GiB in WebAssembly, which has 4.
pub(crate) fn default_limit() -> u64 {
    let of_machine = || -> Option<u64> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes.saturating_mul(1024))
    };
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_container = limit_of_groups(Path::new("/sys/fs/cgroup"), &groups);
    let total = of_machine().into_iter().chain(of_container).min();
    let unknown = if cfg!(target_family = "wasm") { 2 << 30 } else { 4 << 30 };
    total.map_or(unknown, |total| total / 2)
}

/// The least limit of the control groups that `groups` lists, the text of `/proc/self/cgroup`, and of those around them.
///
/// Version 2 has one hierarchy, `0::/path`, and `memory.max` in each folder; version 1 has one for each controller,
/// `N:memory:/path`. A container may see its own group as the root.
/// <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory>
fn limit_of_groups(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let group = root.join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|folder| folder.starts_with(&root));
        // "max", which is no number, means no limit.
        around
            .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
            .min()
    });
    limits.min()
}

/// Refuses graphs whose values take more than `limit` bytes together, weights not counted; else gives the bytes.
///
/// The graphs must declare their values. The sum is an upper bound, because engines reuse memory.
pub(crate) fn check<'m>(models: impl IntoIterator<Item = &'m Model>, limit: u64) -> Result<u64> {
    let mut total = 0u64;
    for model in models {
        add(model, limit, &mut total)?;
    }
    Ok(total)
}

/// The memory limit of all concurrent runs, and of what callers hold beside them. A run that does not fit waits.
///
/// A caller that holds memory may wait for its run. Therefore a run waits for other runs alone: where there is none, it
/// starts, whatever callers hold.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limit: u64,
    taken: Mutex<Taken>,
    freed: Condvar,
}

/// The bytes that are taken.
#[derive(Debug, Default)]
struct Taken {
    by_runs: u64,
    by_callers: u64,
}

impl Taken {
    fn by(&mut self, holder: Holder) -> &mut u64 {
        match holder {
            Holder::Run => &mut self.by_runs,
            Holder::Caller => &mut self.by_callers,
        }
    }

    /// Whether more bytes have to wait.
    fn is_full(&mut self, bytes: u64, holder: Holder, limit: u64) -> bool {
        let all = self.by_runs.saturating_add(self.by_callers);
        *self.by(holder) > 0 && all.saturating_add(bytes) > limit
    }
}

/// Who holds memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder {
    /// A run of a program.
    Run,
    /// A caller, for photos.
    Caller,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, taken: Mutex::default(), freed: Condvar::new() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes until the lease is dropped, and waits for them.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64, holder: Holder) -> MemoryLease {
        let full = |taken: &mut Taken| taken.is_full(bytes, holder, self.limit);
        let taken = self.freed.wait_while(self.taken(), full);
        *taken.unwrap_or_else(PoisonError::into_inner).by(holder) += bytes;
        MemoryLease { budget: self.clone(), bytes, holder }
    }

    /// Takes bytes, if they are free now.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: u64, holder: Holder) -> Option<MemoryLease> {
        let mut taken = self.taken();
        if taken.is_full(bytes, holder, self.limit) {
            return None;
        }
        *taken.by(holder) += bytes;
        Some(MemoryLease { budget: self.clone(), bytes, holder })
    }
}

/// A share of the memory limit, until it is dropped.
#[derive(Debug)]
pub struct MemoryLease {
    budget: Arc<Budget>,
    bytes: u64,
    holder: Holder,
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        *self.budget.taken().by(self.holder) -= self.bytes;
        self.budget.freed.notify_all();
    }
}

fn add(model: &Model, limit: u64, total: &mut u64) -> Result<()> {
    let graph = model.graph();
    let declared: HashMap<&str, Option<u64>> = graph
        .value_info
        .iter()
        .chain(&graph.output)
        .filter_map(|info| Some((info.name.as_deref()?, bytes_of(info))))
        .collect();
    for node in &graph.node {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let bytes = declared.get(name.as_str()).copied().flatten();
            let (label, op) = (node.label(), node.op());
            match bytes {
                Some(bytes) => *total = total.saturating_add(bytes),
                None if op::traits(node).grows => bail!(
                    Memory,
                    "node \"{label}\" ({op}): the size of its output is not known before the model runs, \
                     so it cannot be checked against the memory limit"
                ),
                None => {}
            }
            if *total > limit {
                bail!(
                    Memory, RaiseMemoryLimit;
                    "the run would need more than {} of memory at node \"{label}\" ({op}), the limit is {}",
                    human(*total),
                    human(limit)
                )
            }
        }
    }
    Ok(())
}

/// The bytes of a declared value; `None` where a size is not known.
fn bytes_of(info: &ValueInfoProto) -> Option<u64> {
    let Some(type_proto::Value::TensorType(tensor)) = &info.r#type.as_ref()?.value else {
        return None;
    };
    let dims = &tensor.shape.as_ref()?.dim;
    let count = dims.iter().try_fold(1u64, |count, dim| match &dim.value {
        Some(dimension::Value::DimValue(size)) => {
            u64::try_from(*size).ok().map(|size| count.saturating_mul(size))
        }
        _ => None,
    })?;
    Some(count.saturating_mul(elem_type(tensor.elem_type).bits()) / 8)
}

/// A number of bytes as people write it.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 10 * 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use onnx_grad::proto::tensor_proto::DataType;
    use prost::Message;
    use testkit::build;

    use super::*;

    #[test]
    fn the_limit_of_a_container_counts() {
        let root = std::env::temp_dir().join(format!("gradcam-memory-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("pod/memory.max", "3000\n");
        write("pod/app/memory.max", "4000\n");
        write("memory/docker/a/memory.limit_in_bytes", "2000\n");
        write("cpu/memory.limit_in_bytes", "1\n");
        let limit = |groups: &str| limit_of_groups(&root, groups);
        // The limit of the group, of an outer group, none, and of version 1 beside other controllers.
        assert_eq!(limit("0::/pod\n"), Some(3000));
        assert_eq!(limit("0::/pod/app\n"), Some(3000));
        assert_eq!(limit("0::/\n"), None);
        assert_eq!(limit("12:cpu:/\n4:memory:/docker/a\n"), Some(2000));
        assert_eq!(limit("nonsense"), None);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_may_grow_without_a_known_size_is_refused() {
        let rows = [("Expand", false), ("OneHot", false), ("NonZero", true), ("Relu", true)];
        for (op, fits) in rows {
            let inputs = [("x", DataType::Float, &[2][..]), ("n", DataType::Int64, &[1])];
            let nodes = vec![build::node(op, &["x", "n"], &["y"], vec![])];
            let proto = build::model(17, &inputs, &[("y", DataType::Float)], vec![], nodes);
            let model = Model::from_bytes(proto.encode_to_vec()).unwrap();
            assert_eq!(check([&model], u64::MAX).is_ok(), fits, "{op}");
        }
    }

    #[test]
    fn runs_that_do_not_fit_in_wait() {
        let budget = Arc::new(Budget::new(100));
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for caller in 0..6u64 {
                let (budget, now, most) = (&budget, &now, &most);
                scope.spawn(move || {
                    for step in 0..50 {
                        let bytes = 1 + (caller * 37 + step * 53) % 100;
                        let _taken = budget.take(bytes, Holder::Run);
                        let held = now.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        most.fetch_max(held, Ordering::SeqCst);
                        thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 100);
        // Every lease was returned.
        let _all = budget.take(100, Holder::Run);
    }

    /// A run that waited for the caller that waits for it would wait forever.
    #[test]
    fn a_run_does_not_wait_for_its_own_caller() {
        let budget = Arc::new(Budget::new(100));
        let photo = budget.take(90, Holder::Caller);
        let run = budget.take(50, Holder::Run);
        assert!(budget.try_take(1, Holder::Run).is_none());
        assert!(budget.try_take(1, Holder::Caller).is_none());
        drop(run);
        assert!(budget.try_take(10, Holder::Caller).is_some());
        drop(photo);
        let _run = budget.take(40, Holder::Run);
        assert!(budget.try_take(60, Holder::Run).is_some());
        assert!(budget.try_take(61, Holder::Run).is_none());
        // The first of callers does not wait for runs either.
        assert!(budget.try_take(100, Holder::Caller).is_some());
    }
}
