//! Maps at another size, and numbers for each image.

use super::{Builder, constant_size};
use crate::{
    attrs,
    error::{Result, bail},
    facts::Dim,
    graph::ValueId,
    proto::tensor_proto::DataType,
};

/// The most numbers of the matrices that resize a map of two axes: 64 KiB, from 28 × 28 to 224 × 224.
const LARGEST_WEIGHTS: i64 = 1 << 14;

impl Builder<'_> {
    /// One int64 number for each image, `[N]`, where the first axis of `like` is the images.
    pub fn per_image(&mut self, number: i64, like: ValueId) -> Result<ValueId> {
        let shape = self.shape(like)?;
        let Some(images) = shape.first().copied() else {
            bail!(Shape, "\"{}\" has no axis of images", self.graph.name(like));
        };
        if let Some(count) = images.fixed() {
            let numbers = vec![number; constant_size(&[count])?];
            return self.list(&numbers);
        }
        let number = self.list(&[number])?;
        if self.graph.opset() >= 8 {
            let shape = self.raw("Shape", &[like], vec![])?;
            let images = self.slice(shape, 0, 0, 1, 1)?;
            return self.raw("Expand", &[number, images], vec![]);
        }
        let mut first = like;
        for axis in 1..shape.len() {
            first = self.slice(first, axis, 0, 1, 1)?;
        }
        let first = self.reshape(first, &[images])?;
        let zeros = self.less(first, first)?;
        let zeros = self.cast(zeros, DataType::Int64)?;
        self.add(zeros, number)
    }

    /// Maps `[N, …]` of floats at other sizes of the axes behind the first: linear along each axis, with half-pixel centers
    /// and without antialiasing, as `torch.nn.functional.interpolate(align_corners=False)`.
    ///
    /// They are products with the matrices of the weights, which engines compute faster than a Resize. Where two axes would have
    /// large matrices they are a Resize, which has these centers from opset 11.
    pub fn resize_linear(&mut self, maps: ValueId, sizes: &[i64]) -> Result<ValueId> {
        let shape = self.shape(maps)?;
        let (images, old) = match shape.split_first() {
            Some((images, old)) if old.len() == sizes.len() => (*images, old.to_vec()),
            _ => bail!(Shape, "\"{}\" has no map of the size {sizes:?}", self.graph.name(maps)),
        };
        let fixed: Option<Vec<i64>> = old.iter().map(|dim| dim.fixed()).collect();
        let Some(old) = fixed.filter(|old| old.iter().chain(sizes).all(|size| *size > 0)) else {
            bail!(Shape, "the size of \"{}\" is open or 0", self.graph.name(maps));
        };
        if old == sizes {
            return Ok(maps);
        }
        match (self.graph.opset(), old.as_slice(), sizes) {
            (11.., [rows, columns], [height, width])
                if rows.saturating_mul(*height).saturating_add(columns.saturating_mul(*width))
                    > LARGEST_WEIGHTS =>
            {
                let picture = [images, Dim::Fixed(1), Dim::Fixed(*rows), Dim::Fixed(*columns)];
                let picture = self.reshape(maps, &picture)?;
                let resized = self.spell_resize(picture, [*rows, *columns], [*height, *width])?;
                self.reshape(resized, &[images, Dim::Fixed(*height), Dim::Fixed(*width)])
            }
            _ => self.resize_by_matrices(maps, images, &old, sizes),
        }
    }

    /// [N, C, h, w] to [N, C, H, W] by factors where these are whole, else by sizes, of which the first two are read from the
    /// value where the number of images is open.
    fn spell_resize(&mut self, x: ValueId, old: [i64; 2], new: [i64; 2]) -> Result<ValueId> {
        let attributes = vec![
            attrs::text("mode", "linear"),
            attrs::text("coordinate_transformation_mode", "half_pixel"),
        ];
        // The region is an input that may be left out from opset 13.
        let region = match self.graph.opset() {
            11..13 => Some(self.floats(x, &[0], &[])?),
            _ => None,
        };
        let factors = old.iter().zip(new).map(|(old, new)| (new % old == 0).then_some(new / old));
        if let Some(factors) = factors.collect::<Option<Vec<i64>>>() {
            #[expect(clippy::cast_precision_loss, reason = "a factor of two sides")]
            let scales: Vec<f64> =
                [1.0, 1.0].into_iter().chain(factors.into_iter().map(|f| f as f64)).collect();
            let scales = self.floats(x, &[4], &scales)?;
            return self.raw_optional("Resize", &[Some(x), region, Some(scales)], attributes);
        }
        let shape = self.shape(x)?;
        let front: Option<Vec<i64>> = shape.iter().take(2).map(|dim| dim.fixed()).collect();
        let sizes = match front {
            Some(front) => self.list(&[front, new.to_vec()].concat())?,
            None => {
                let shape = self.raw("Shape", &[x], vec![])?;
                let front = self.slice(shape, 0, 0, 2, 1)?;
                let back = self.list(&new)?;
                self.concat(&[front, back], 0)?
            }
        };
        let scales = match region {
            Some(_) => Some(self.floats(x, &[0], &[])?),
            None => None,
        };
        self.raw_optional("Resize", &[Some(x), region, scales, Some(sizes)], attributes)
    }

    fn resize_by_matrices(
        &mut self,
        maps: ValueId,
        images: Dim,
        old: &[i64],
        new: &[i64],
    ) -> Result<ValueId> {
        let mut maps = maps;
        let mut sizes = old.to_vec();
        // The last axis first, so that the largest product comes last.
        for axis in (0..sizes.len()).rev() {
            let (from, to) = (sizes[axis], new[axis]);
            if from == to {
                continue;
            }
            let before = sizes[..axis].iter().product::<i64>();
            let behind = sizes[axis + 1..].iter().product::<i64>();
            let weights = linear_weights(from, to)?;
            let rows = [images, Dim::Fixed(before), Dim::Fixed(from), Dim::Fixed(behind)];
            let rows = self.reshape(maps, &rows)?;
            let weights = self.floats(maps, &[to, from], &weights)?;
            maps = self.matmul(weights, rows)?;
            sizes[axis] = to;
        }
        let shape: Vec<Dim> =
            std::iter::once(images).chain(new.iter().map(|size| Dim::Fixed(*size))).collect();
        self.reshape(maps, &shape)
    }
}

/// The weights of the old positions at each new one, `[new, old]`.
fn linear_weights(old: i64, new: i64) -> Result<Vec<f64>> {
    let mut weights = vec![0.0; constant_size(&[new, old])?];
    let (old, new) = (constant_size(&[old])?, constant_size(&[new])?);
    for (at, row) in weights.chunks_exact_mut(old).enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
        let position = ((at as f64 + 0.5) * old as f64 / new as f64 - 0.5).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place among the old positions"
        )]
        let before = (position as usize).min(old - 1);
        #[expect(clippy::cast_precision_loss, reason = "the side of a picture")]
        let along = position - before as f64;
        row[before] += 1.0 - along;
        row[(before + 1).min(old - 1)] += along;
    }
    Ok(weights)
}
