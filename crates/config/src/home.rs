//! The data directory and the places in it that the server and the command line must agree on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Why there is no data directory.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing says where it is.
    #[error("no data directory: neither --home, HYTHE_HOME nor HOME is set")]
    Unknown,
    /// A relative path and no current folder.
    #[error("the data directory `{0}` cannot be made absolute")]
    Relative(PathBuf, #[source] std::io::Error),
}

/// `given` (from `--home` or `HYTHE_HOME`) or else `.hythe` in the user's folder; absolute. `user_folder` is
/// the value of `HOME`.
///
/// # Errors
/// When neither is there, or the current folder cannot be told.
pub fn default_home(given: Option<&Path>, user_folder: Option<OsString>) -> Result<PathBuf, HomeError> {
    let path = match (given, user_folder) {
        (Some(given), _) if !given.as_os_str().is_empty() => given.to_owned(),
        (_, Some(folder)) if !folder.is_empty() => Path::new(&folder).join(".hythe"),
        _ => return Err(HomeError::Unknown),
    };
    std::path::absolute(&path).map_err(|error| HomeError::Relative(path, error))
}

/// The socket of the command line.
pub fn socket(home: &Path) -> PathBuf {
    home.join("hythe.sock")
}

/// The token of the native API.
pub fn token_file(home: &Path) -> PathBuf {
    home.join("api-token")
}

/// The node file.
pub fn node_file(home: &Path) -> PathBuf {
    home.join("hythe.toml")
}

/// Where the output of a server in the background goes.
pub fn server_log(home: &Path) -> PathBuf {
    home.join("server.log")
}
