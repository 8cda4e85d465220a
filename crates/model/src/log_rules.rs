//! What becomes of the output of a service: how much is kept, and which files get it besides.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the output of one service is kept. It may change while instances run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogRules {
    /// A file is rotated before it grows beyond this, bytes (10 MiB).
    pub max_size: u64,
    /// A file is rotated when its first line is this old, and deleted when its last line is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Files, the written one included; at least 1 (10).
    pub max_files: u32,
    /// Whether files that are not written any more are compressed (gzip).
    pub compress: bool,
    /// A file that gets the lines of standard output as well; absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_file: Option<PathBuf>,
    /// A file that gets the lines of standard error as well; absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_file: Option<PathBuf>,
    /// A file that gets the lines of both as well; absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_file: Option<PathBuf>,
    /// Each instance has files of its own: `-<place>` stands before the extension of the three paths.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_instance: bool,
    /// No line is written to any file; those in memory and those who follow get them all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// How the time looks in front of each line of the three files, in the tokens of Day.js (`YYYY-MM-DD HH:mm:ss`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_format: Option<String>,
    /// Lines of the three files are JSON objects.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

impl Default for LogRules {
    fn default() -> Self {
        Self {
            max_size: 10 << 20,
            max_age_ms: None,
            max_files: 10,
            compress: true,
            out_file: None,
            error_file: None,
            merged_file: None,
            per_instance: false,
            disabled: false,
            time_format: None,
            json: false,
        }
    }
}

impl LogRules {
    /// Whether these are the usual rules.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}
