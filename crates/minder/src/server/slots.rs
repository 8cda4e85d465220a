//! A set of connections. What each subscriber has yet to be told is one bit where it happened, so
//! a subscriber that never reads costs no memory.

use crate::protocol::MAX_CONNECTIONS;

const _: () = assert!(MAX_CONNECTIONS <= u32::BITS as usize);

/// A set of connection slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slots(u32);

impl Slots {
    pub(super) fn contains(self, slot: usize) -> bool {
        self.0 & (1 << slot) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn insert(&mut self, slot: usize) {
        self.0 |= 1 << slot;
    }

    pub(super) fn remove(&mut self, slot: usize) {
        self.0 &= !(1 << slot);
    }

    pub(super) fn take(&mut self, slot: usize) -> bool {
        let present = self.contains(slot);
        self.remove(slot);
        present
    }
}
