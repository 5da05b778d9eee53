//! Networks of the fixtures, whose weights are drawn once for tests that stand side by side.

use std::sync::{Arc, Mutex};

use gradcam::Model;
use testkit::ReferenceNetwork;

/// The name of a network, its model with the weights, and what is known of it.
type Last = (&'static str, Arc<(Model, ReferenceNetwork)>);

/// A network that a test uses, the one of the test before where it is the same.
pub(crate) fn network(name: &'static str) -> Arc<(Model, ReferenceNetwork)> {
    static LAST: Mutex<Option<Last>> = Mutex::new(None);
    let mut last = LAST.lock().expect("no fixture is broken");
    if let Some((of, network)) = &*last
        && *of == name
    {
        return network.clone();
    }
    // The one before is let go before the weights of this one take their place.
    *last = None;
    let network = Arc::new(testkit::network(name));
    *last = Some((name, network.clone()));
    network
}
