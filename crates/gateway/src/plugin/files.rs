//! `files` (ours): answers with the files of a folder instead of the service. A manifest's `files` is this.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::files::Files;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "files",
    priority: 1,
    summary: "serves the files of a folder",
    parse,
};

struct FilesPlugin {
    files: Arc<Files>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let root = settings.text("root");
    let fallback = settings.text("fallback");
    match root {
        None => settings.problem("root", "required field missing"),
        Some(root) if !Path::new(root).is_absolute() => settings.problem("root", "expected an absolute path"),
        Some(root) if !Path::new(root).is_dir() => {
            settings.problem("root", &format!("`{root}` is not a folder that can be read"));
        }
        Some(_) => {}
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
    if fallback.is_some_and(|path| path.is_empty() || path.contains("..") || !path.bytes().all(plain)) {
        settings.problem("fallback", "expected the path of a file in the folder");
    }
    settings.finish()?;
    let fallback = fallback.map(|path| format!("/{}", path.trim_start_matches('/')));
    let files = Files::of(Path::new(root.unwrap_or_default()), fallback);
    Ok(Box::new(FilesPlugin {
        files: Arc::new(files),
    }))
}

impl Plugin for FilesPlugin {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        exchange.decide().files = Some(Arc::clone(&self.files));
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::settings;

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.root: required field missing"),
            (
                json!({"root": "public"}),
                "config.root: expected an absolute path",
            ),
            (
                json!({"root": "/", "fallback": "../secret"}),
                "config.fallback: expected the path of a file in the folder",
            ),
            (
                json!({"root": "/", "fallback": "a?b"}),
                "config.fallback: expected the path of a file in the folder",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
