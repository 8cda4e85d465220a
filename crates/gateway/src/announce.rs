//! Tells an upstream whose connection it is: the PROXY protocol, outwards.
//!
//! The header is the first thing on the connection, before TLS. So the connection is that client's for as long as it
//! lives.

use std::time::Duration;

use hythe_model::ProxyProtocol;
use hythe_upstream::proxy_protocol::{self, Version};
use hythe_upstream::{Wire, WireError};

use crate::door::Ends;

/// The version that a setting means.
pub(crate) fn version(setting: ProxyProtocol) -> Version {
    match setting {
        ProxyProtocol::V1 => Version::One,
        ProxyProtocol::V2 => Version::Two,
    }
}

/// Writes the header for a connection between `ends`.
///
/// # Errors
/// When it is not taken within `allowed`.
pub(crate) async fn announce(
    wire: &mut Wire,
    version: Version,
    ends: Ends,
    allowed: Duration,
) -> Result<(), WireError> {
    let mut header = Vec::new();
    proxy_protocol::write(version, ends.client, ends.local, &mut header);
    let (_, mut writer) = wire.split();
    writer.allow(allowed);
    writer.write_all(&header).await
}
