//! Methods that are principal components: of the activation, or of its product with the gradient.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use ndarray::{ArrayD, ArrayViewD, Axis};

use super::{ChannelMap, Passes};
use crate::{Result, error::bail};

/// EigenCAM: the principal component of the activation. Muhammad and Yeasin 2020, section III.
pub(super) fn eigen_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    principal_component(&passes.activation())
}

/// Eigen-Grad-CAM: the principal component of g·A, as in pytorch-grad-cam.
pub(super) fn eigen_grad_cam(passes: &mut dyn Passes) -> Result<ChannelMap> {
    let product = &passes.activation() * &passes.gradient()?;
    principal_component(&product.view())
}

/// The map X·v of a picture [K, …]. Rows of X are positions, columns are channels with their means subtracted; v is the first
/// right singular vector. What is no number counts as 0.
///
/// A singular vector has no sign. The sign is chosen so that the entry with the largest absolute value is positive.
pub(crate) fn principal_component(picture: &ArrayViewD<'_, f32>) -> Result<ChannelMap> {
    let shape = picture.shape()[1..].to_vec();
    let (channels, positions) = (picture.len_of(Axis(0)), shape.iter().product());
    // Columns are channels, each one behind the other.
    let numbers = picture.iter().map(|v| if v.is_nan() { 0.0 } else { f64::from(*v) });
    let mut x = DMatrix::from_iterator(positions, channels, numbers);
    for mut column in x.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    let direction = first_right_singular_vector(&x);
    let map = &x * &direction;
    let sign = if -map.min() > map.max() { -1.0 } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, reason = "maps are float32")]
    let signed =
        |vector: &DVector<f64>| -> Vec<f32> { vector.iter().map(|v| (v * sign) as f32).collect() };
    let weights = signed(&direction);
    match ArrayD::from_shape_vec(shape, signed(&map)) {
        Ok(map) => Ok(ChannelMap::new(weights, map)),
        Err(error) => bail!(Engine, "the activation has an impossible shape: {error}"),
    }
}

/// Of the two Gram matrices the smaller one is decomposed: an eigenvector u of X·Xᵀ gives Xᵀ·u/σ.
fn first_right_singular_vector(x: &DMatrix<f64>) -> DVector<f64> {
    if x.ncols() <= x.nrows() {
        return first_eigenvector(x.tr_mul(x));
    }
    let left = first_eigenvector(x * x.transpose());
    let direction = x.tr_mul(&left);
    let length = direction.norm();
    if length > 0.0 { direction / length } else { direction }
}

fn first_eigenvector(gram: DMatrix<f64>) -> DVector<f64> {
    let eigen = SymmetricEigen::new(gram);
    eigen.eigenvectors.column(eigen.eigenvalues.imax()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projected(rows: usize, columns: usize, x: &[f64]) -> Vec<f64> {
        let x = DMatrix::from_row_slice(rows, columns, x);
        let map = &x * first_right_singular_vector(&x);
        map.iter().map(|v| v.abs()).collect()
    }

    /// Positions along (3, 4)/5 and, shorter, across it: more positions than channels and the other way around.
    #[test]
    fn the_projection_is_on_the_longest_direction() {
        for (rows, columns, x, want) in [
            (3, 2, vec![3.0, 4.0, -3.0, -4.0, 0.4, -0.3], vec![5.0, 5.0, 0.0]),
            (2, 3, vec![3.0, 4.0, 0.0, -3.0, -4.0, 0.0], vec![5.0, 5.0]),
            (1, 2, vec![0.0, 0.0], vec![0.0]),
        ] {
            let got = projected(rows, columns, &x);
            let apart = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-12, "{got:?}, not {want:?}");
        }
    }
}
