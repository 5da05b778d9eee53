//! Inference against the standard's own, and against hostile sizes.

use super::*;

#[test]
fn table_is_sorted() {
    assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
}
