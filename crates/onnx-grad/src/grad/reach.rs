//! How far back gradients are propagated.

/// How far back gradients are propagated.
#[derive(Clone, Copy, Default)]
pub(super) struct Reach {
    /// The index of the first node that they pass; earlier nodes count as constants.
    pub(super) from: usize,
    /// Whether the values with respect to which a target is differentiated count as constants for each other.
    pub(super) ends_at_wrt: bool,
    /// Whether the nodes are copies of nodes of the model; their gradients are said to be those of the originals.
    pub(super) of_copies: bool,
}
