//! The largest eigenvalues of a symmetric matrix that is known by its products with vectors.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// The largest eigenvalues of a symmetric matrix, the largest first, with their eigenvectors of length 1, by Lanczos' method: a
/// decomposition of the whole matrix would take minutes where this takes as many products as it has steps. Golub and Van Loan
/// 2013, section 10.3. Fewer than `count` where the steps end before: one of several equal eigenvalues is found.
///
/// Each direction is made orthogonal to all before it twice, so that rounding adds no eigenvalues.
pub(super) fn largest_eigenpairs(
    size: usize,
    count: usize,
    product: impl Fn(&DVector<f64>) -> DVector<f64>,
) -> Vec<(f64, DVector<f64>)> {
    let steps = (200 + 2 * count).min(size);
    let mut random = fastrand::Rng::with_seed(0);
    let first = DVector::from_fn(size, |_, _| random.f64() - 0.5);
    let mut basis = vec![first.normalize()];
    let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
    while let Some(last) = basis.last() {
        let mut next = product(last);
        diagonal.push(next.dot(last));
        let scale = next.norm();
        for direction in basis.iter().chain(&basis) {
            next.axpy(-next.dot(direction), direction, 1.0);
        }
        let length = next.norm();
        if basis.len() >= steps || length <= 1e-14 * scale {
            break;
        }
        beside.push(length);
        basis.push(next / length);
    }
    let mut small = DMatrix::from_diagonal(&DVector::from_vec(diagonal));
    for (at, length) in beside.into_iter().enumerate() {
        small[(at, at + 1)] = length;
        small[(at + 1, at)] = length;
    }
    let eigen = SymmetricEigen::new(small);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let pair = |at: usize| {
        let combined = eigen.eigenvectors.column(at);
        let mut vector = DVector::zeros(size);
        for (direction, share) in basis.iter().zip(combined.iter()) {
            vector.axpy(*share, direction, 1.0);
        }
        (eigen.eigenvalues[at], vector)
    };
    order.into_iter().take(count).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eigenvalues 3 and −5 of a matrix that has no others but 0: the largest is 3, not that of the largest magnitude, and
    /// the last is −5.
    #[test]
    fn the_largest_eigenvalues_are_found_with_their_vectors() {
        for size in [2, 3, 300] {
            let unit =
                |at: usize| DVector::from_fn(size, |row, _| if row == at { 1.0 } else { 0.0 });
            let u: DVector<f64> = 0.6 * unit(0) + 0.8 * unit(1);
            let v: DVector<f64> = 0.8 * unit(0) - 0.6 * unit(1);
            let matrix = 3.0 * &u * u.transpose() - 5.0 * &v * v.transpose();
            let pairs = largest_eigenpairs(size, 3, |vector| &matrix * vector);
            let [(most, of_most), .., (least, of_least)] = pairs.as_slice() else {
                panic!("{pairs:?}")
            };
            assert!((most - 3.0).abs() < 1e-12 && (least + 5.0).abs() < 1e-12, "{most} {least}");
            assert!((of_most.dot(&u).abs() - 1.0).abs() < 1e-12, "{of_most}");
            assert!((of_least.dot(&v).abs() - 1.0).abs() < 1e-12, "{of_least}");
        }
        let zero = largest_eigenpairs(1, 1, |vector| 0.0 * vector);
        assert_eq!(zero[0].0, 0.0);
    }
}
