//! `set`, `get`, `unset`, `conf`: values by module and key, in a file of `PM2_HOME`. Nothing here reads them: they are kept
//! for scripts that do.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Pm2;
use super::words::SetWords;
use crate::failure::{Exit, Failure, Outcome};

pub(crate) fn set(pm2: &mut Pm2, words: &SetWords) -> Outcome {
    let (Some(key), Some(value)) = (&words.key, &words.value) else {
        return conf(pm2, words);
    };
    let file = file(pm2);
    let mut settings = read(&file)?;
    put(&mut settings, key, value);
    write(&file, &settings)?;
    pm2.say("Setting changed")?;
    show(pm2, &settings, module(key))
}

pub(crate) fn get(pm2: &mut Pm2, key: Option<&str>) -> Outcome {
    let settings = read(&file(pm2))?;
    let Some(key) = key else {
        return show_all(pm2, &settings);
    };
    let (module, name) = parts(key);
    let found = settings.get(module);
    match (found, name) {
        (Some(_), None) => show(pm2, &settings, module),
        (Some(found), Some(name)) if found.get(name).is_some() => {
            let value = found.get(name).map(text).unwrap_or_default();
            pm2.context
                .out
                .line(format!("Value for module {module} key {name}: {value}"))
        }
        _ => Err(Failure::new(Exit::NotFound, format!("{key} is not set"))),
    }
}

pub(crate) fn unset(pm2: &mut Pm2, key: &str) -> Outcome {
    let file = file(pm2);
    let mut settings = read(&file)?;
    take(&mut settings, key);
    write(&file, &settings)?;
    show(pm2, &settings, module(key))
}

pub(crate) fn conf(pm2: &mut Pm2, words: &SetWords) -> Outcome {
    match (&words.key, &words.value) {
        (Some(_), Some(_)) => set(pm2, words),
        (key, _) => get(pm2, key.as_deref()),
    }
}

fn file(pm2: &Pm2) -> PathBuf {
    pm2.folder.join("module_conf.json")
}

fn read(path: &Path) -> Outcome<Map<String, Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("read {}: {error}", path.display()),
            ));
        }
    };
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{} cannot be read: {error}", path.display()),
        )
    })
}

fn write(path: &Path, settings: &Map<String, Value>) -> Outcome {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let text = serde_json::to_vec_pretty(settings).map_err(std::io::Error::from)?;
    Ok(hythe_stdx::write_atomically(path, &text)?)
}

/// `module:key` or `module.key`.
fn parts(key: &str) -> (&str, Option<&str>) {
    match key.split_once([':', '.']) {
        Some((module, name)) => (module, Some(name)),
        None => (key, None),
    }
}

fn module(key: &str) -> &str {
    parts(key).0
}

fn put(settings: &mut Map<String, Value>, key: &str, value: &str) {
    let (module, name) = parts(key);
    let Some(name) = name else {
        settings.insert(module.to_owned(), Value::from(value));
        return;
    };
    let entry = settings
        .entry(module.to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    match entry {
        Value::Object(values) => {
            values.insert(name.to_owned(), Value::from(value));
        }
        other => *other = Value::Object([(name.to_owned(), Value::from(value))].into_iter().collect()),
    }
}

fn take(settings: &mut Map<String, Value>, key: &str) {
    match parts(key) {
        (module, None) => {
            settings.remove(module);
        }
        (module, Some(name)) => {
            if let Some(Value::Object(values)) = settings.get_mut(module) {
                values.remove(name);
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn show_all(pm2: &mut Pm2, settings: &Map<String, Value>) -> Outcome {
    settings.keys().try_for_each(|module| show(pm2, settings, module))
}

fn show(pm2: &mut Pm2, settings: &Map<String, Value>, module: &str) -> Outcome {
    for line in lines(settings, module) {
        pm2.context.out.line(line)?;
    }
    Ok(())
}

/// Each value as the command that sets it.
fn lines(settings: &Map<String, Value>, module: &str) -> Vec<String> {
    let mut lines = vec![format!("Module: {module}")];
    match settings.get(module) {
        Some(Value::Object(values)) => {
            let line = |(name, value)| format!("$ pm2 set {module}:{name} {}", text(value));
            lines.extend(values.iter().map(line));
        }
        Some(value) => lines.push(format!("$ pm2 set {module} {}", text(value))),
        None => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_and_taken_away() {
        let mut settings = Map::new();
        put(&mut settings, "a:b", "c");
        put(&mut settings, "a.d", "e");
        put(&mut settings, "x", "y");
        assert_eq!(
            lines(&settings, "a"),
            ["Module: a", "$ pm2 set a:b c", "$ pm2 set a:d e"]
        );
        assert_eq!(lines(&settings, "x"), ["Module: x", "$ pm2 set x y"]);
        put(&mut settings, "x:z", "1");
        assert_eq!(lines(&settings, "x"), ["Module: x", "$ pm2 set x:z 1"]);
        take(&mut settings, "a:b");
        take(&mut settings, "x");
        take(&mut settings, "nope:b");
        assert_eq!(lines(&settings, "a"), ["Module: a", "$ pm2 set a:d e"]);
        assert_eq!(lines(&settings, "x"), ["Module: x"]);
    }
}
