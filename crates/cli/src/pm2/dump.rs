//! `save`, `resurrect`, `cleardump`: what runs, remembered and started again.
//!
//! Environments hold secrets, and a dump is a file that people copy and show. So the dump in `PM2_HOME` has everything but
//! their values, and names the place where those are: a file beside Hythe's own data, in the same folder (0700) as the
//! store that has them anyway. Both are for their owner alone (0600). A dump is of use only with the data directory it
//! was made with, and says so when that is another one.
//!
//! A dump that PM2 itself has written is not touched: `hythe import pm2` reads it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hythe_dialect_pm2::workload::label;
use hythe_model::{Name, Workload};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::processes::{Process, Processes, Service};
use super::{Pm2, ids, list, start};
use crate::failure::{Exit, Failure, Outcome};
use crate::start::Apps;

/// The field that makes a dump ours.
const SAVED: &str = "hythe_saved";

/// A dump, as far as it is ours.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    /// The file with the workloads, without its folder.
    hythe_saved: String,
}

pub(crate) fn save(pm2: &mut Pm2, force: bool) -> Outcome {
    pm2.say("Saving current process list...")?;
    let processes = pm2.processes()?;
    if processes.list.is_empty() && !force {
        pm2.warn("No process is managed, so nothing is saved: what was saved before stays");
        pm2.warn("To save all the same: pm2 save --force");
        return Ok(());
    }
    let dump = Dump::of(pm2)?;
    if !force {
        dump.refuse_foreign()?;
    }
    dump.keep_last()?;
    dump.write(&processes)?;
    pm2.say(&format!("Successfully saved in {}", dump.path.display()))
}

pub(crate) fn clear(pm2: &mut Pm2) -> Outcome {
    let dump = Dump::of(pm2)?;
    dump.refuse_foreign()?;
    dump.write(&Processes::default())?;
    pm2.say(&format!("Successfully created {}", dump.path.display()))
}

pub(crate) fn resurrect(pm2: &mut Pm2) -> Outcome {
    pm2.ensure_server()?;
    pm2.say("Resurrecting")?;
    let dump = Dump::of(pm2)?;
    let saved = match dump.read(&dump.path) {
        Ok(saved) => saved,
        Err(failure) => {
            let before = backup(&dump.path);
            if !before.is_file() {
                return Err(failure);
            }
            pm2.warn(&failure.message);
            pm2.warn(&format!("{} is read instead", before.display()));
            dump.read(&before)?
        }
    };
    let processes = pm2.processes()?;
    let mut missing = Apps::default();
    for (name, mut workload) in saved {
        if !processes.services.contains_key(name.as_str()) {
            workload.restarts_asked = 0;
            missing.order.push(name.clone());
            missing.workloads.insert(name, workload);
        }
    }
    if !missing.order.is_empty() {
        start::launch(pm2, missing, false)?;
    }
    list::show(pm2)
}

/// Where it is.
struct Dump {
    path: PathBuf,
    /// The folder of what dumps refer to.
    vault: PathBuf,
}

impl Dump {
    fn of(pm2: &Pm2) -> Outcome<Self> {
        let create = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder);
        create(&pm2.folder)?;
        let vault = ids::folder(&pm2.context.home)?.join("saved");
        create(&vault)?;
        Ok(Self {
            path: pm2.folder.join("dump.pm2"),
            vault,
        })
    }

    fn write(&self, processes: &Processes) -> Outcome {
        let file = self.file("");
        let workloads: BTreeMap<&String, &Workload> = processes
            .services
            .iter()
            .map(|(name, service)| (name, &service.workload))
            .collect();
        let text = serde_json::to_vec(&workloads).map_err(std::io::Error::from)?;
        hythe_stdx::write_atomically(&self.vault.join(&file), &text)?;
        let entry = |process: &Process| Some(entry(process, processes.service(process)?, &file));
        let entries: Vec<Value> = processes.list.iter().filter_map(entry).collect();
        let text = serde_json::to_vec_pretty(&entries).map_err(std::io::Error::from)?;
        Ok(hythe_stdx::write_atomically(&self.path, &text)?)
    }

    /// The name of the file with the workloads: every dump has its own.
    fn file(&self, ending: &str) -> String {
        let path = self.path.as_os_str().as_encoded_bytes();
        let hash = hythe_stdx::StableHash::default().with(path).finish();
        format!("{hash:016x}{ending}.json")
    }

    /// The dump of before becomes the one that is read when this one cannot be.
    fn keep_last(&self) -> Outcome {
        let Ok(text) = std::fs::read_to_string(&self.path) else {
            return Ok(());
        };
        let (file, before) = (self.file(""), self.file(".bak"));
        if let Ok(workloads) = std::fs::read(self.vault.join(&file)) {
            hythe_stdx::write_atomically(&self.vault.join(&before), &workloads)?;
        }
        let text = text.replace(&file, &before);
        Ok(hythe_stdx::write_atomically(
            &backup(&self.path),
            text.as_bytes(),
        )?)
    }

    fn refuse_foreign(&self) -> Outcome {
        match entries(&self.path) {
            Ok(entries) if entries.iter().any(|entry| entry.get(SAVED).is_none()) => Err(self.foreign()),
            _ => Ok(()),
        }
    }

    fn foreign(&self) -> Failure {
        let message = format!("{} was written by PM2 itself", self.path.display());
        Failure::new(Exit::Usage, message)
            .hint("`hythe import pm2` starts what it has; `pm2 save --force` replaces it")
    }

    /// The services that a dump has.
    fn read(&self, path: &Path) -> Outcome<BTreeMap<Name, Workload>> {
        let entries = entries(path)?;
        let Some(first) = entries.into_iter().next() else {
            return Ok(BTreeMap::new());
        };
        let entry: Entry = serde_json::from_value(Value::Object(first)).map_err(|_| self.foreign())?;
        let name = Path::new(&entry.hythe_saved).file_name().unwrap_or_default();
        let file = self.vault.join(name);
        let text = std::fs::read(&file).map_err(|error| {
            let message = format!(
                "{} refers to {}, which cannot be read: {error}",
                path.display(),
                file.display()
            );
            Failure::new(Exit::Failed, message).hint("a dump is of use with the HYTHE_HOME it was saved with")
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{} cannot be read: {error}", file.display()),
            )
        })
    }
}

fn backup(dump: &Path) -> PathBuf {
    dump.with_extension("pm2.bak")
}

fn entries(path: &Path) -> Outcome<Vec<Map<String, Value>>> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("{} cannot be read: {why}", path.display()))
    };
    let text = std::fs::read(path).map_err(|error| cannot(&error))?;
    serde_json::from_slice(&text).map_err(|error| cannot(&error))
}

/// A process with the names of its variables, and without their values.
fn entry(process: &Process, service: &Service, file: &str) -> Value {
    let words = |name: &str| serde_json::from_str(service.label(name)).unwrap_or_else(|_| json!([]));
    let variables: Vec<&String> = service.workload.environment.keys().collect();
    json!({
        "name": service.name,
        "namespace": service.namespace,
        "pm_id": process.id,
        "status": process.status.as_str(),
        "pm_exec_path": service.script(),
        "pm_cwd": service.workload.working_dir,
        "exec_interpreter": service.label(label::INTERPRETER),
        "exec_mode": service.label(label::EXEC_MODE),
        "instances": service.count(),
        "args": words(label::ARGS),
        "node_args": words(label::NODE_ARGS),
        "env_names": variables,
        SAVED: file,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hythe_model::InstanceState;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

    fn dump() -> (tempfile::TempDir, Dump) {
        let folder = tempfile::tempdir().unwrap();
        let vault = folder.path().join("vault");
        std::fs::create_dir(&vault).unwrap();
        let path = folder.path().join("dump.pm2");
        (folder, Dump { path, vault })
    }

    #[test]
    fn a_dump_has_no_secret_and_comes_back_whole() {
        let (_folder, dump) = dump();
        let listed = processes(vec![service(
            "api",
            &[InstanceState::Ready, InstanceState::Ready],
            false,
        )]);
        dump.write(&listed).unwrap();
        let text = std::fs::read_to_string(&dump.path).unwrap();
        assert!(text.contains("SECRET") && !text.contains("it's"), "{text}");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&dump.path), mode(&dump.vault.join(dump.file("")))),
            (0o600, 0o600)
        );
        let back = dump.read(&dump.path).unwrap();
        let api: Name = "api".parse().unwrap();
        assert_eq!(back[&api], listed.services["api"].workload);
    }

    #[test]
    fn the_dump_before_is_kept_with_what_it_refers_to() {
        let (_folder, dump) = dump();
        dump.keep_last().unwrap();
        dump.write(&processes(vec![service("old", &[InstanceState::Ready], false)]))
            .unwrap();
        dump.keep_last().unwrap();
        dump.write(&processes(vec![service("new", &[InstanceState::Ready], false)]))
            .unwrap();
        let names = |path: &Path| {
            dump.read(path)
                .unwrap()
                .into_keys()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&dump.path), ["new"]);
        assert_eq!(names(&backup(&dump.path)), ["old"]);
    }

    #[test]
    fn pm2s_own_dump_is_left_alone() {
        let (_folder, dump) = dump();
        dump.refuse_foreign().unwrap();
        std::fs::write(&dump.path, r#"[{"name": "api", "env": {}}]"#).unwrap();
        assert!(
            dump.refuse_foreign()
                .unwrap_err()
                .message
                .ends_with("was written by PM2 itself")
        );
        assert!(dump.read(&dump.path).is_err());
        std::fs::write(&dump.path, "[]").unwrap();
        dump.refuse_foreign().unwrap();
        assert!(dump.read(&dump.path).unwrap().is_empty());
    }
}
