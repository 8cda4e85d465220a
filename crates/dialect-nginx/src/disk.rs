//! The machine's own files and names.

use std::io;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use crate::check::World;
use crate::files::Files;

/// Files of this machine, and names as its resolver knows them.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    /// By the rules of a shell: `*` crosses no `/` and no leading dot.
    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        glob::glob_with(pattern, options).map_or_else(|_| Vec::new(), |paths| paths.flatten().collect())
    }
}

impl World for Disk {
    fn resolves(&self, host: &str) -> bool {
        (host, 80)
            .to_socket_addrs()
            .is_ok_and(|mut addresses| addresses.next().is_some())
    }
}
