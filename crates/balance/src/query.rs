//! What a request asks of a pool, and what it has tried.

use std::net::IpAddr;

use crate::ip_hash::IpHash;
use crate::member::Member;

/// One request's search for a member, over all its tries. Allocates with the first failure, not before.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Members that it was sent to in vain. Known by address, so that it stays true when the pool is replaced.
    tried: Vec<u64>,
    /// Who asks, for pools that pick by it.
    pub(crate) ip_hash: Option<IpHash>,
    /// The hash of what it is to be known by.
    pub(crate) key: Option<u64>,
    /// The member that the client had before.
    pub(crate) token: Option<u64>,
}

impl Query {
    /// A request that is like every other.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request of this client, for [`Algorithm::IpHash`](hythe_model::traffic::Algorithm::IpHash).
    pub fn from_client(address: IpAddr) -> Self {
        Self {
            ip_hash: Some(IpHash::new(address)),
            ..Self::default()
        }
    }

    /// A request with this key, for
    /// [`Algorithm::ConsistentHashing`](hythe_model::traffic::Algorithm::ConsistentHashing).
    pub fn with_key(key: u64) -> Self {
        Self {
            key: Some(key),
            ..Self::default()
        }
    }

    /// The client had the member of this [`token`](Member::token) before and is to have it again, if that can be.
    pub fn come_back_to(&mut self, token: u64) {
        self.token = Some(token);
    }

    /// Whether `member` is the one that the client had before.
    pub fn is_back_at(&self, member: &Member) -> bool {
        self.token == Some(member.token)
    }

    /// This member is not to be picked again for this request.
    pub fn add_tried(&mut self, member: &Member) {
        self.tried.push(member.stats.id());
    }

    /// Everybody may be picked again.
    pub fn forget_tried(&mut self) {
        self.tried.clear();
    }

    /// Whether nobody was tried.
    pub(crate) fn is_first(&self) -> bool {
        self.tried.is_empty()
    }

    pub(crate) fn has_tried(&self, member: &Member) -> bool {
        !self.tried.is_empty() && self.tried.contains(&member.stats.id())
    }
}
