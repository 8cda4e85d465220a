//! Numbers of instances.

use std::io;

use hythe_model::FullName;

/// Remembers which instance numbers were used, so that none is used twice in the life of a data directory.
///
/// Both methods are called on the supervisor's own task and must not block it for long: a small file
/// that is read once and written without waiting for the disk is what is meant. After a loss of power a
/// few numbers may come again; their instances are gone then.
pub trait IdSource: Send + Sync {
    /// The highest number that was used for `service`; 0 if none was.
    fn last(&self, service: &FullName) -> u64;

    /// Remembers that `number` is used for `service`. Numbers of a service come in rising order.
    ///
    /// # Errors
    /// When it cannot be remembered. The number is used all the same: running instances matter more.
    fn used(&self, service: &FullName, number: u64) -> io::Result<()>;
}

/// Remembers nothing: numbers start above those of the instances that are still there.
#[derive(Debug, Clone, Copy, Default)]
pub struct VolatileIds;

impl IdSource for VolatileIds {
    fn last(&self, _: &FullName) -> u64 {
        0
    }

    fn used(&self, _: &FullName, _: u64) -> io::Result<()> {
        Ok(())
    }
}
