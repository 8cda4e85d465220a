//! `serve`, and `static` of an ecosystem file: a folder, answered by the gateway at a port of its own.
//!
//! There is no process for it, so `list` does not show it: it is a project with a manifest, which is kept beside Hythe's
//! data, and which `hythe down` removes.

use std::path::Path;

use hythe_api::wire::{ApplyRequest, ProjectView};
use hythe_dialect_pm2::StaticSite;
use hythe_model::ProjectName;
use hythe_model::view::ChangeView;
use serde_json::{Value, json};

use super::words::ServeWords;
use super::{Pm2, ids};
use crate::arguments::WaitOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::manifest_file::Manifest;
use crate::terminal::{Tone, complain};
use crate::wait::{self, Subject};
use crate::{Context, server};

pub(super) fn serve(pm2: &mut Pm2, words: &ServeWords) -> Outcome {
    let login = words
        .basic_auth_username
        .as_ref()
        .zip(words.basic_auth_password.as_ref());
    let site = StaticSite {
        path: words.path.clone(),
        port: words.port,
        name: words.name.clone(),
        spa: words.spa,
        basic_auth: login.map(|(user, password)| json!({ "username": user, "password": password })),
        ..StaticSite::default()
    };
    server::ensure(&pm2.context, &hythe_config::ServerArgs::default())?;
    let project = run(&mut pm2.context, &site)?;
    pm2.say(&format!("Serving {} on port {}", site.path.display(), site.port))?;
    pm2.say(&format!("`hythe down -p {project}` ends that"))
}

/// Has the sites of an ecosystem file answered as well, for people if not `json`. One that cannot be is told, and keeps no
/// other from it.
pub(crate) fn all(context: &mut Context, sites: &[StaticSite], json: bool) -> Outcome {
    let mut failed = None;
    for site in sites {
        let project = match run(context, site) {
            Ok(project) => project,
            Err(failure) => {
                complain(&failure);
                failed.get_or_insert(failure.exit);
                continue;
            }
        };
        if !json {
            context.out.line(format!(
                "{}: {} on port {} (`hythe down -p {project}` ends that)",
                Tone::Strong.paint(project.as_str()),
                site.path.display(),
                site.port
            ))?;
        }
    }
    failed.map_or(Ok(()), |exit| Err(Failure::told(exit)))
}

/// Has a site answered by the server that runs; its project.
fn run(context: &mut Context, site: &StaticSite) -> Outcome<ProjectName> {
    let folder = std::path::absolute(&site.path)?;
    if !folder.is_dir() {
        let message = format!("{} is not a folder", folder.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    if site.ftp {
        complain(format_args!(
            "{} `ftp` has no effect: a folder is answered by its index.html, and not by a list of its files",
            Tone::Busy.paint("!")
        ));
    }
    let usual = || format!("static-page-server-{}", site.port);
    let project = project_of(&site.name.clone().unwrap_or_else(usual))?;
    let file = ids::folder(&context.home)?.join(format!("{project}.json"));
    let text = manifest(project.as_str(), &folder.display().to_string(), site)?.to_string();
    refuse_another(context, &project, &file)?;
    hythe_stdx::write_atomically(&file, text.as_bytes())?;

    let before = context.project.replace(project.to_string());
    let applied = apply(context, &file);
    context.project = before;
    applied
}

/// A project's name has lower-case letters, digits, `-` and `_`; PM2's names may have any.
fn project_of(name: &str) -> Outcome<ProjectName> {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '_') => letter,
        _ => '-',
    };
    let project: String = name.chars().map(plain).collect();
    project
        .trim_start_matches(['-', '_'])
        .parse()
        .map_err(|_| Failure::new(Exit::Usage, format!("`{name}` cannot be the name of a site")))
}

/// What another manifest runs under this name would end.
fn refuse_another(context: &Context, project: &ProjectName, file: &Path) -> Outcome {
    let known: Vec<ProjectView> = context.client.get("/v1/projects")?;
    let is_another = |known: &&ProjectView| {
        known.name == project.as_str() && Path::new(&known.path).file_name() != file.file_name()
    };
    match known.iter().find(is_another) {
        Some(other) => {
            let message = format!("`{project}` is the project of {} already", other.path);
            Err(Failure::new(Exit::Usage, message).hint("give the site another `name`"))
        }
        None => Ok(()),
    }
}

fn apply(context: &mut Context, file: &Path) -> Outcome<ProjectName> {
    let manifest = Manifest::read(context, file, &[])?;
    let (source, spec) = manifest.accept(context)?;
    let project = spec.project.clone();
    let request = ApplyRequest {
        path: source.path.display().to_string(),
        spec,
        actor: Some(Context::actor()),
        dry_run: false,
        force: false,
    };
    let change: ChangeView = context
        .client
        .send("PUT", &format!("/v1/projects/{project}"), &request)?;
    let options = WaitOptions {
        no_wait: false,
        timeout: "30s".to_owned(),
        json: true,
    };
    let subject = Subject::Project(&project);
    wait::until_live(context, &subject, &change, &options, &Interrupt::never())?;
    Ok(project)
}

/// The folder as a project.
fn manifest(name: &str, folder: &str, site: &StaticSite) -> Outcome<Value> {
    let mut files = json!({ "root": folder });
    if site.spa {
        files["fallback"] = json!("index.html");
    }
    let mut service = json!({ "files": files });
    if let Some(login) = &site.basic_auth {
        let part = |key: &str| login.get(key).and_then(Value::as_str);
        let Some((user, password)) = part("username").zip(part("password")) else {
            let message = format!("`basic_auth` of the site `{name}` needs a `username` and a `password`");
            return Err(Failure::new(Exit::Usage, message));
        };
        let users = json!({ user: format!("{{PLAIN}}{password}") });
        service["plugins"] = json!([{ "name": "basic-auth", "config": { "users": users } }]);
    }
    let host = site.host.as_deref().unwrap_or("0.0.0.0");
    Ok(json!({
        "name": name,
        "services": { "site": service },
        "listeners": { "site": { "listen": format!("{host}:{}", site.port) } },
        "routes": [{ "name": "all", "service": "site", "paths": ["/"], "listeners": ["site"] }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_a_projects() {
        for (name, project) in [
            ("docs", Some("docs")),
            ("Frontend (new)", Some("frontend--new-")),
            ("../../etc/x", Some("etc-x")),
            ("static-page-server-8080", Some("static-page-server-8080")),
            ("ü", None),
            ("", None),
        ] {
            let found = project_of(name).ok();
            assert_eq!(found.as_ref().map(ProjectName::as_str), project, "{name}");
        }
    }

    #[test]
    fn a_folder_is_a_project() {
        let mut site = StaticSite::default();
        let plain = manifest("site", "/srv", &site).unwrap();
        assert_eq!(plain["services"]["site"], json!({"files": {"root": "/srv"}}));
        assert_eq!(plain["listeners"]["site"]["listen"], "0.0.0.0:8080");
        site.spa = true;
        site.host = Some("127.0.0.1".to_owned());
        site.basic_auth = Some(json!({"username": "me", "password": "x"}));
        let full = manifest("site", "/srv", &site).unwrap();
        assert_eq!(full["listeners"]["site"]["listen"], "127.0.0.1:8080");
        let service = &full["services"]["site"];
        assert_eq!(service["files"]["fallback"], "index.html");
        assert_eq!(service["plugins"][0]["config"]["users"]["me"], "{PLAIN}x");
        site.basic_auth = Some(json!({"username": "me"}));
        let refused = manifest("site", "/srv", &site).unwrap_err();
        assert!(refused.message.contains("needs a `username` and a `password`"));
    }
}
