//! Non-negative factorization of a matrix: X ≈ W·H. Of deep feature factorization, Collins et al. 2018, arXiv:1806.10206.

use nalgebra::{DMatrix, DVector};

use super::lanczos::largest_eigenpairs;

/// The most sweeps over both factors, and the share of the first gradient's size at which they end: those of scikit-learn,
/// which pytorch-grad-cam takes.
const MOST_SWEEPS: usize = 200;
const TOLERANCE: f64 = 1e-4;

/// What is below this counts as 0 in the start.
const LEAST: f64 = 1e-6;

/// The factors of a matrix X, [rows, columns]: X ≈ W·H, all entries at least 0.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    /// W, [rows, components].
    pub(crate) w: DMatrix<f64>,
    /// The transpose of H, [columns, components].
    pub(crate) ht: DMatrix<f64>,
}

impl Factors {
    /// The factors of the transpose `xt` of a matrix X, from the start that its singular vectors give, so that the same matrix
    /// always has the same factors.
    pub(crate) fn of(xt: &DMatrix<f64>, components: usize) -> Self {
        let mut factors = Self::start(xt, components);
        factors.descend(xt);
        factors
    }

    /// NNDSVDa: of each singular pair the part of one sign that is the larger, the mean of X in place of 0. Boutsidis and
    /// Gallopoulos 2008, doi:10.1016/j.patcog.2007.09.010.
    fn start(xt: &DMatrix<f64>, components: usize) -> Self {
        let (columns, rows) = xt.shape();
        let mut factors =
            Self { w: DMatrix::zeros(rows, components), ht: DMatrix::zeros(columns, components) };
        for (at, (value, left, right)) in singular_triples(xt, components).into_iter().enumerate() {
            let sides = [1.0, -1.0].map(|sign| {
                let part = |vector: &DVector<f64>| vector.map(|entry| (sign * entry).max(0.0));
                let (left, right) = (part(&left), part(&right));
                let size = left.norm() * right.norm();
                (size, left, right)
            });
            let [positive, negative] = sides;
            let (size, left, right) = if positive.0 > negative.0 { positive } else { negative };
            if size > 0.0 {
                let length = (value * size).sqrt();
                factors.w.set_column(at, &(&left * (length / left.norm())));
                factors.ht.set_column(at, &(&right * (length / right.norm())));
            }
        }
        let mean = xt.mean();
        for entry in factors.w.iter_mut().chain(factors.ht.iter_mut()) {
            if *entry < LEAST {
                *entry = mean;
            }
        }
        factors
    }

    /// Lowers ‖X − W·H‖² by coordinate descent, column by column of W and then of the transpose of H, until the projected
    /// gradient is small. Cichocki and Phan 2009, doi:10.1587/transfun.E92.A.708.
    fn descend(&mut self, xt: &DMatrix<f64>) {
        let mut first = None;
        for _ in 0..MOST_SWEEPS {
            let of_w = sweep(&mut self.w, &xt.tr_mul(&self.ht), &self.ht.tr_mul(&self.ht));
            let of_h = sweep(&mut self.ht, &(xt * &self.w), &self.w.tr_mul(&self.w));
            let size = of_w + of_h;
            if size <= TOLERANCE * *first.get_or_insert(size) {
                break;
            }
        }
    }

    /// ‖X − W·H‖ over ‖X‖, Frobenius' norm; 0 for a matrix of zeros.
    pub(crate) fn error(&self, xt: &DMatrix<f64>) -> f64 {
        let whole = xt.norm_squared();
        let shared = self.w.dot(&xt.tr_mul(&self.ht));
        let product = self.w.tr_mul(&self.w).dot(&self.ht.tr_mul(&self.ht));
        if whole > 0.0 { ((whole - 2.0 * shared + product).max(0.0) / whole).sqrt() } else { 0.0 }
    }
}

/// Moves each column of a factor F to the minimum of ‖X − F·Gᵀ‖² over it, entries at least 0. `product` is X·G, `gram` is Gᵀ·G.
/// Gives the sum of the magnitudes of the projected gradient before each move.
fn sweep(factor: &mut DMatrix<f64>, product: &DMatrix<f64>, gram: &DMatrix<f64>) -> f64 {
    let mut size = 0.0;
    for at in 0..factor.ncols() {
        let gradient = &*factor * gram.column(at) - product.column(at);
        let curvature = gram[(at, at)];
        for (entry, slope) in factor.column_mut(at).iter_mut().zip(gradient.iter()) {
            size += if *entry == 0.0 { slope.min(0.0).abs() } else { slope.abs() };
            if curvature != 0.0 {
                *entry = (*entry - slope / curvature).max(0.0);
            }
        }
    }
    size
}

/// The largest singular values of the matrix with the transpose `xt`, each with its left and its right singular vector. Those
/// that rounding cannot tell from 0 are left out.
fn singular_triples(xt: &DMatrix<f64>, count: usize) -> Vec<(f64, DVector<f64>, DVector<f64>)> {
    let (columns, rows) = xt.shape();
    let by_rows = rows <= columns;
    let pairs = match by_rows {
        true => largest_eigenpairs(rows, count, |left| xt.tr_mul(&(xt * left))),
        false => largest_eigenpairs(columns, count, |right| xt * xt.tr_mul(right)),
    };
    let largest = pairs.first().map_or(0.0, |(value, _)| *value);
    let is_known = |(value, _): &(f64, DVector<f64>)| *value > 1e-12 * largest;
    let triple = |(value, vector): (f64, DVector<f64>)| {
        let value = value.sqrt();
        match by_rows {
            true => (value, vector.clone(), xt * vector / value),
            false => (value, xt.tr_mul(&vector) / value, vector),
        }
    };
    pairs.into_iter().filter(is_known).map(triple).collect()
}

#[cfg(test)]
mod tests {
    use testkit::{FixtureTensor, concept_cases};

    use super::*;

    fn matrix(tensor: &FixtureTensor) -> DMatrix<f64> {
        DMatrix::from_row_slice(tensor.shape[0], tensor.shape[1], &tensor.data)
    }

    fn apart(got: &DMatrix<f64>, want: &DMatrix<f64>) -> f64 {
        (got - want).amax() / want.amax()
    }

    /// From the random start of scikit-learn and from singular vectors, which are its `nndsvda`. Where six components factor
    /// six rows, rounding moves the last sweeps.
    #[test]
    fn factors_are_those_of_scikit_learn() {
        for case in concept_cases().matrices {
            let x = matrix(&case.x);
            let (xt, name) = (x.transpose(), format!("{:?}", x.shape()));
            let mut random =
                Factors { w: matrix(&case.random.start[0]), ht: matrix(&case.random.start[1]) };
            random.descend(&xt);
            let own = Factors::start(&xt, case.components);
            let from_own = Factors::of(&xt, case.components);
            for (got, want) in [
                (&random, &case.random.end),
                (&own, &case.nndsvda.start),
                (&from_own, &case.nndsvda.end),
            ] {
                let off = apart(&got.w, &matrix(&want[0])).max(apart(&got.ht, &matrix(&want[1])));
                assert!(off < 1e-9, "{name}: {off:.1e}");
            }
            for (factors, want) in [(&random, case.random.error), (&from_own, case.nndsvda.error)] {
                let off = (factors.error(&xt) - want).abs();
                assert!(off < 1e-7, "{name}: {off:.1e}");
            }
        }
    }

    /// Two concepts at places of their own: X = [[3, 0, 3], [4, 0, 4], [0, 2, 0]] is (3, 4, 0)·(1, 0, 1) + (0, 0, 2)·(0, 1, 0),
    /// and nothing else without negative entries is, up to a factor.
    #[test]
    fn the_parts_of_a_sum_are_found() {
        let x = DMatrix::from_row_slice(3, 3, &[3.0, 0.0, 3.0, 4.0, 0.0, 4.0, 0.0, 2.0, 0.0]);
        let factors = Factors::of(&x.transpose(), 2);
        let part = |at: usize| factors.w.column(at) * factors.ht.column(at).transpose();
        let (larger, smaller) =
            if part(0).sum() > 5.0 { (part(0), part(1)) } else { (part(1), part(0)) };
        let first = DMatrix::from_row_slice(3, 3, &[3.0, 0.0, 3.0, 4.0, 0.0, 4.0, 0.0, 0.0, 0.0]);
        assert!((&larger - &first).amax() < 1e-3, "{larger}");
        assert!((&smaller - (&x - &first)).amax() < 1e-3, "{smaller}");
        assert!(factors.error(&x.transpose()) < 1e-3);
    }

    #[test]
    fn zeros_and_more_components_than_ranks_have_factors() {
        let zeros = DMatrix::zeros(3, 2);
        assert_eq!(Factors::of(&zeros, 2).error(&zeros), 0.0);
        let ones = DMatrix::from_element(3, 2, 1.0);
        let factors = Factors::of(&ones, 2);
        assert!(factors.w.iter().chain(&factors.ht).all(|entry| *entry >= 0.0));
        assert!(factors.error(&ones) < 1e-3, "{}", factors.error(&ones));
    }
}
