//! `start`: services that were stopped, a script, or the apps of an ecosystem file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hythe_api::wire::AddRequest;
use hythe_config::ServerArgs;
use hythe_dialect_pm2::environment::Variables;
use hythe_dialect_pm2::workload::{self, Planned, Surroundings};
use hythe_dialect_pm2::{App, Ecosystem, Evaluator, Interpreter, Options, Parsed, Problem, StaticSite, file};
use hythe_model::view::{ChangeView, ServiceView};
use hythe_model::{FullName, Name, ProjectName, Workload};

use crate::arguments::{StartOptions, WaitOptions};
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::terminal::Tone;
use crate::wait::{self, Subject};
use crate::{Context, change, pm2, server};

pub(crate) fn run(context: &mut Context, options: &StartOptions) -> Outcome {
    let folder = std::env::current_dir()?;
    let subjects = subjects(&options.what, &folder)?;
    let Subjects { services, files } = subjects;
    if !services.is_empty() && !files.is_empty() {
        let message = format!(
            "`{}` is a service and `{}` a file: one kind at a time",
            services[0],
            files[0].display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    if files.is_empty() {
        return change::start(context, &services, &options.wait);
    }
    let mut apps = Apps::default();
    for file in &files {
        apps.read(file, &options.app, &folder)?;
    }
    start(context, apps, &options.wait)
}

/// What the words mean.
struct Subjects {
    services: Vec<String>,
    files: Vec<PathBuf>,
}

fn subjects(words: &[String], folder: &Path) -> Outcome<Subjects> {
    if words.is_empty() {
        let file = file::find_for_start(folder).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "there is nothing to start: no ecosystem.config.js in this folder",
            )
            .hint("name a service, a script or an ecosystem file")
        })?;
        return Ok(Subjects {
            services: Vec::new(),
            files: vec![file],
        });
    }
    let (files, services): (Vec<&String>, Vec<_>) = words.iter().partition(|word| is_file_like(word, folder));
    Ok(Subjects {
        services: services.into_iter().cloned().collect(),
        files: files.into_iter().map(PathBuf::from).collect(),
    })
}

/// A path, a shell command, or a name of a file that is there or that can be no service's.
pub(crate) fn is_file_like(word: &str, folder: &Path) -> bool {
    word.contains('/')
        || folder.join(word).is_file()
        || file::format_of(Path::new(word)).is_some()
        || Interpreter::of_script(word).is_some()
}

/// What is to be started.
#[derive(Default)]
pub(crate) struct Apps {
    pub(crate) workloads: BTreeMap<Name, Workload>,
    /// Their names as they were read.
    pub(crate) order: Vec<Name>,
    /// Folders that are to be answered.
    pub(crate) sites: Vec<StaticSite>,
    /// Those that no file names, but words of the command line.
    by_word: BTreeSet<Name>,
}

impl Apps {
    /// Reads a script, a command or an ecosystem file.
    pub(crate) fn read(&mut self, path: &Path, options: &Options, folder: &Path) -> Outcome {
        match file::format_of(path).filter(|_| folder.join(path).is_file()) {
            Some(_) => self.read_ecosystem(path, options, folder),
            None => {
                let script = path.to_string_lossy();
                let (app, problems) = options
                    .app(&script)
                    .map_err(|problems| refused(&problems, None))?;
                pm2::tell(&problems, None);
                self.add(&app, None, options, folder)?;
                self.by_word.extend(self.order.last().cloned());
                Ok(())
            }
        }
    }

    fn read_ecosystem(&mut self, path: &Path, options: &Options, folder: &Path) -> Outcome {
        let path = folder.join(path);
        let parsed = file::load(&path, &Evaluator::default())
            .map_err(|error| Failure::new(Exit::Usage, hythe_stdx::chain(&error)))?;
        self.take(&parsed, &path, options, folder)
    }

    /// Takes the apps of a file that was read, whatever it was read from.
    pub(crate) fn take(&mut self, parsed: &Parsed, path: &Path, options: &Options, folder: &Path) -> Outcome {
        let Some(ecosystem) = &parsed.ecosystem else {
            return Err(refused(&parsed.problems, Some(path)));
        };
        pm2::tell(&parsed.problems, Some(path));
        let before = self.workloads.len();
        let sites = ecosystem.sites.iter().filter(|_| options.only.is_empty());
        self.sites.extend(sites.map(|site| StaticSite {
            path: folder.join(&site.path),
            ..site.clone()
        }));
        for app in ecosystem.apps.iter().filter(|app| options.keeps(app)) {
            let mut app = app.clone();
            let problems = options
                .override_app(&mut app)
                .map_err(|problems| refused(&problems, None))?;
            pm2::tell(&problems, None);
            self.add(&app, Some(ecosystem), options, folder)?;
        }
        if self.workloads.len() == before && self.sites.is_empty() {
            let message = match options.only.as_slice() {
                [] => format!("{} has no apps", path.display()),
                only => format!("{} has no app named {}", path.display(), only.join(" or ")),
            };
            return Err(Failure::new(Exit::NotFound, message));
        }
        Ok(())
    }

    fn add(&mut self, app: &App, file: Option<&Ecosystem>, options: &Options, folder: &Path) -> Outcome {
        let shell = shell();
        let around = Surroundings {
            folder,
            shell: &shell,
            file,
            chosen: options.env.as_deref(),
            cores: cores(),
        };
        self.plan(app, &around)
    }

    /// Adds one app.
    pub(crate) fn plan(&mut self, app: &App, around: &Surroundings<'_>) -> Outcome {
        let planned = workload::plan(app, around).map_err(|problem| refused(&[*problem], None))?;
        let Planned {
            name,
            workload,
            problems,
        } = planned;
        pm2::tell(&problems, None);
        if self.workloads.contains_key(&name) {
            let message = format!("two apps are called `{name}`");
            return Err(Failure::new(Exit::Usage, message).hint("give one of them another `name`"));
        }
        self.order.push(name.clone());
        self.workloads.insert(name, workload);
        Ok(())
    }
}

/// How many cores this machine has for us.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn refused(problems: &[Problem], path: Option<&Path>) -> Failure {
    pm2::tell(problems, path);
    Failure::told(Exit::Usage)
}

/// The environment of this command, as far as it is text.
pub(crate) fn shell() -> Variables {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Has apps run and sites answered, and tells what came of them.
pub(crate) fn start(context: &mut Context, apps: Apps, options: &WaitOptions) -> Outcome {
    server::ensure(context, &ServerArgs::default())?;
    let sites = apps.sites.clone();
    let started = match apps.workloads.is_empty() {
        true => Ok(()),
        false => start_apps(context, apps, options),
    };
    let answered = pm2::answer_sites(context, &sites, options.json);
    started.and(answered)
}

fn start_apps(context: &mut Context, apps: Apps, options: &WaitOptions) -> Outcome {
    let project = context.scope()?.project;
    let names: Vec<String> = apps
        .workloads
        .keys()
        .map(|name| FullName::new(project.clone(), name.clone()).to_string())
        .collect();
    refuse_others(context, &project, &apps)?;
    let request = AddRequest {
        workloads: apps.workloads,
        actor: Some(Context::actor()),
        ..AddRequest::default()
    };
    let change: ChangeView = context.client.send("PUT", &path(&project), &request)?;
    if !options.json {
        change::show(&mut context.out, &change)?;
    }
    if !options.no_wait {
        let subject = Subject::Services(&names);
        let services = wait::until_live(context, &subject, &change, options, &Interrupt::never())?;
        if !options.json {
            summarise(context, &services)?;
        }
    }
    if options.json {
        context.out.json(&change)
    } else {
        Ok(())
    }
}

/// Two scripts of one name are two apps, the first of which nobody asked to end. A file's app is the one of its name,
/// wherever its script is now: each release has it in a folder of its own.
fn refuse_others(context: &Context, project: &ProjectName, apps: &Apps) -> Outcome {
    let known: Vec<ServiceView> = context.client.get(&format!("/v1/services?project={project}"))?;
    for (name, workload) in apps
        .workloads
        .iter()
        .filter(|(name, _)| apps.by_word.contains(*name))
    {
        let full = FullName::new(project.clone(), name.clone()).to_string();
        let there = known.iter().find(|service| service.name == full);
        let script = |labels: &BTreeMap<String, String>| labels.get(workload::label::SCRIPT).cloned();
        let other = there.and_then(|service| script(&service.labels));
        if let Some(other) = other.filter(|other| Some(other) != script(&workload.labels).as_ref()) {
            let message = format!("`{name}` is another script that runs already: {other}");
            return Err(
                Failure::new(Exit::Usage, message).hint("give this one a name of its own with --name")
            );
        }
    }
    Ok(())
}

pub(crate) fn path(project: &ProjectName) -> String {
    format!("/v1/projects/{project}/services")
}

/// What runs, and where it can be reached.
fn summarise(context: &mut Context, services: &[ServiceView]) -> Outcome {
    for service in services {
        let places: Vec<String> = service.published.iter().map(|place| reachable(place)).collect();
        let instances = match service.ready {
            1 => "1 instance".to_owned(),
            count => format!("{count} instances"),
        };
        let at = match places.as_slice() {
            [] => String::new(),
            places => format!(", {}", places.join(", ")),
        };
        let name = Tone::Strong.paint(&service.name);
        context.out.line(format!("{name}: {instances} ready{at}"))?;
    }
    Ok(())
}

/// An address that is every address is best reached as localhost.
fn reachable(place: &str) -> String {
    let any = ["0.0.0.0:", "[::]:", "127.0.0.1:", "[::1]:"];
    let port = any.iter().find_map(|prefix| place.strip_prefix(prefix));
    port.map_or_else(|| place.to_owned(), |port| format!("localhost:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_services_or_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("worker"), "").unwrap();
        for (word, expected) in [
            ("users", false),
            ("shop.users", false),
            ("all", false),
            ("worker", true),
            ("./users", true),
            ("app.js", true),
            ("job.py", true),
            ("npm start", true),
            ("apps.json", true),
            ("ecosystem.config.cjs", true),
        ] {
            assert_eq!(is_file_like(word, folder.path()), expected, "{word}");
        }
        assert!(subjects(&[], folder.path()).is_err());
    }
}
