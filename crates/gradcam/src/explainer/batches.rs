//! Runs of a program on changed copies of an image or of an activation, batch by batch.

use ndarray::{ArrayD, Axis};

use crate::{
    Result,
    engine::{Tensor, TensorView},
    error::bail,
    input::ImageInput,
    program::Program,
    progress::{CancelToken, Observer, Progress},
};

/// Runs of a program on changed copies of one of its inputs.
pub(super) struct Batches<'a> {
    pub(super) program: &'a Program,
    /// The images of a run.
    pub(super) size: usize,
    pub(super) image: &'a ImageInput,
    /// The input that is changed.
    pub(super) name: &'a str,
    /// What it is without changes.
    pub(super) value: &'a Tensor,
    /// The copies of it in a run, one behind the other.
    pub(super) times: usize,
    pub(super) others: &'a [(&'a str, &'a Tensor)],
    pub(super) method: &'static str,
    pub(super) observer: Option<&'a Observer>,
    pub(super) cancel: &'a CancelToken,
}

/// Changes the copy at a place in the batch, by its number: place, number, batch.
pub(super) type ChangeInBatch<'a> = dyn FnMut(usize, usize, &mut ArrayD<f32>) + 'a;

/// Reads the outputs of a run: the number of its first copy, the number of its copies, the outputs.
pub(super) type ReadRun<'a> = dyn FnMut(usize, usize, Vec<Tensor>) -> Result<()> + 'a;

impl Batches<'_> {
    /// The scores of `count` copies.
    pub(super) fn scores(&self, count: usize, change: &mut ChangeInBatch<'_>) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(count);
        self.run(count, change, &mut |_, of_run, mut outputs| {
            scores.extend(floats(outputs.pop())?.iter().take(of_run));
            Ok(())
        })?;
        Ok(scores)
    }

    /// Runs `count` copies. The last batch is padded with unchanged ones.
    pub(super) fn run(
        &self,
        count: usize,
        change: &mut ChangeInBatch<'_>,
        read: &mut ReadRun<'_>,
    ) -> Result<()> {
        let Tensor::F32(value) = self.value else { bail!(Engine, "the engine gave no floats") };
        let mut changed = floats(Some(repeat(self.value, self.times)))?;
        for start in (0..count).step_by(self.size) {
            self.cancel.check()?;
            if start > 0 {
                for mut copy in changed.axis_chunks_iter_mut(Axis(0), value.len_of(Axis(0)).max(1))
                {
                    copy.assign(value);
                }
            }
            let of_run = self.size.min(count - start);
            for at in 0..of_run {
                change(at, start + at, &mut changed);
            }
            let integers = match self.name == self.image.name {
                true => self.image.integers(&changed.view())?,
                false => None,
            };
            let view =
                integers.as_ref().map_or(TensorView::from(&changed), |whole| whole.view().into());
            let mut inputs: Vec<(&str, TensorView<'_>)> =
                self.others.iter().map(|(name, tensor)| (*name, tensor.view())).collect();
            inputs.push((self.name, view));
            read(start, of_run, self.program.run(&inputs)?)?;
            if let Some(observer) = self.observer {
                observer.tell(Progress {
                    method: self.method,
                    done: start + of_run,
                    total: count,
                })?;
            }
        }
        Ok(())
    }
}

/// The floats of an output.
pub(super) fn floats(output: Option<Tensor>) -> Result<ArrayD<f32>> {
    match output.and_then(Tensor::into_f32) {
        Some(floats) => Ok(floats),
        None => bail!(Engine, "the engine gave no floats"),
    }
}

/// A tensor of one run repeated along its first axis.
pub(super) fn repeat(tensor: &Tensor, times: usize) -> Tensor {
    fn rows<T: Clone>(array: &ArrayD<T>, times: usize) -> ArrayD<T> {
        let rows: Vec<usize> = (0..times).flat_map(|_| 0..array.len_of(Axis(0))).collect();
        array.select(Axis(0), &rows)
    }
    match tensor {
        _ if times == 1 => tensor.clone(),
        Tensor::F32(array) => Tensor::F32(rows(array, times)),
        Tensor::I64(array) => Tensor::I64(rows(array, times)),
    }
}
