//! `serve`, and `static` of an ecosystem file: a folder, answered by the gateway at a port of its own.
//!
//! There is no process for it, so `list` does not show it: it is a project with a manifest, which is kept beside Hythe's
//! data, and which `hythe down` removes.

use std::path::Path;

use hythe_api::wire::ApplyRequest;
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

/// Has the sites of an ecosystem file answered as well.
pub(crate) fn all(context: &mut Context, sites: &[StaticSite]) -> Outcome {
    for site in sites {
        let project = run(context, site)?;
        context.out.line(format!(
            "{}: {} on port {} (`hythe down -p {project}` ends that)",
            Tone::Strong.paint(project.as_str()),
            site.path.display(),
            site.port
        ))?;
    }
    Ok(())
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
    let name = site.name.clone().unwrap_or_else(usual);
    let file = ids::folder(&context.home)?.join(format!("{name}.json"));
    let text = manifest(&name, &folder.display().to_string(), site)?.to_string();
    hythe_stdx::write_atomically(&file, text.as_bytes())?;

    let before = context.project.replace(name);
    let applied = apply(context, &file);
    context.project = before;
    applied
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
