//! The values of fields that are more than a text, a number or a yes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What runs a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// Nothing: the script is a program itself (`none`).
    Direct,
    /// `bash -c`: the script is a command. Arguments of the app have no place in it.
    Shell,
    /// A program, by name or path.
    Program(String),
    /// `node@<version>`: node in this version, which the caller finds.
    Node(String),
    /// The first of these that is on `PATH`: what the script's extension stands for.
    FirstOf(&'static [&'static str]),
}

/// How the instances of an app relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecMode {
    /// They share the ports they listen on.
    Cluster,
    /// Each is a process like any other.
    Fork,
}

/// How many instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instances {
    /// A number; at least 1.
    Count(u32),
    /// One per core (`max`, 0).
    All,
    /// One per core except for so many (a negative number).
    AllBut(u32),
}

/// Which variables of the shell an app does not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterEnv {
    /// It gets all of them.
    Nothing,
    /// It gets none.
    Everything,
    /// It gets those whose name contains none of these.
    Containing(Vec<String>),
}

/// What is watched for changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Nothing.
    Off,
    /// The folder that the app starts in.
    Folder,
    /// These paths.
    Paths(Vec<String>),
}

/// What a path is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// A path or a glob.
    Glob(String),
    /// JavaScript's regular expression, not compiled.
    Regex {
        /// Between the slashes.
        source: String,
        /// After them.
        flags: String,
    },
}

/// Where a stream of output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFile {
    /// To a file named after the app.
    Default,
    /// Nowhere.
    Disabled,
    /// To this file.
    At(PathBuf),
}

/// The form of logged lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogType {
    /// As the app writes them.
    Plain,
    /// Each a JSON object.
    Json,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl Interpreter {
    /// What the field says.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "none" => Self::Direct,
            _ => match name.strip_prefix("node@") {
                Some(version) => Self::Node(version.to_owned()),
                None => Self::Program(name.to_owned()),
            },
        }
    }

    /// What a script itself tells: a command by its space, a known kind by its extension.
    pub fn of_script(script: &str) -> Option<Self> {
        if script.contains(char::is_whitespace) {
            return Some(Self::Shell);
        }
        let extension = Path::new(script).extension()?.to_str()?;
        by_extension(extension).map(Self::FirstOf)
    }

    /// Whether its processes can share ports by node's cluster.
    pub fn can_cluster(&self) -> bool {
        let runs_javascript = |program: &str| {
            let name = Path::new(program).file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("node") || name.starts_with("bun"))
        };
        match self {
            Self::Direct | Self::Shell => false,
            Self::Node(_) => true,
            Self::Program(program) => runs_javascript(program),
            Self::FirstOf(programs) => programs.iter().any(|program| runs_javascript(program)),
        }
    }
}

fn by_extension(extension: &str) -> Option<&'static [&'static str]> {
    Some(match extension {
        "js" | "cjs" | "mjs" => &["node"],
        "ts" | "tsx" => &["bun", "node"],
        "sh" => &["bash"],
        "py" => &["python", "python3"],
        "rb" => &["ruby"],
        "php" => &["php"],
        "pl" => &["perl"],
        "coffee" => &["coffee"],
        "ls" => &["lsc"],
        _ => return None,
    })
}

impl Instances {
    /// 0 is all cores, a negative number all but so many.
    pub(crate) fn of_number(number: i32) -> Self {
        match number {
            0 => Self::All,
            1.. => Self::Count(number.unsigned_abs()),
            _ => Self::AllBut(number.unsigned_abs()),
        }
    }

    /// The number on a machine with `cores`; at least 1.
    pub fn on(self, cores: usize) -> u32 {
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        match self {
            Self::Count(count) => count,
            Self::All => cores,
            Self::AllBut(fewer) => cores.saturating_sub(fewer),
        }
        .max(1)
    }
}
