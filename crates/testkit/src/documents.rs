//! Documents as the store gives them out.

use std::sync::Arc;

use hythe_model::Entry;

/// What `spec` says, written first.
pub fn entry<T>(spec: T) -> Arc<Entry<T>> {
    Arc::new(Entry {
        uid: String::new(),
        generation: 1,
        created_at: 0,
        spec,
    })
}
