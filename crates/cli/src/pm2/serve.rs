//! `serve`: a folder, answered by the gateway at a port of its own.
//!
//! There is no process for it, so `list` does not show it: it is a project with a manifest, which is kept beside Hythe's
//! data, and which `hythe down` removes.

use hythe_api::wire::ApplyRequest;
use hythe_model::view::ChangeView;
use serde_json::{Value, json};

use super::words::ServeWords;
use super::{Pm2, ids};
use crate::arguments::WaitOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::manifest_file::Manifest;
use crate::wait::{self, Subject};
use crate::{Context, server};

pub(crate) fn serve(pm2: &mut Pm2, words: &ServeWords) -> Outcome {
    let folder = std::path::absolute(&words.path)?;
    if !folder.is_dir() {
        let message = format!("{} is not a folder", folder.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    server::ensure(&pm2.context, &hythe_config::ServerArgs::default())?;
    let usual = || format!("static-page-server-{}", words.port);
    let name = words.name.clone().unwrap_or_else(usual);
    let file = ids::folder(&pm2.context.home)?.join(format!("{name}.json"));
    let text = manifest(&name, &folder.display().to_string(), words).to_string();
    hythe_stdx::write_atomically(&file, text.as_bytes())?;

    pm2.context.project = Some(name.clone());
    let manifest = Manifest::read(&pm2.context, &file, &[])?;
    let (source, spec) = manifest.accept(&pm2.context)?;
    let project = spec.project.clone();
    let request = ApplyRequest {
        path: source.path.display().to_string(),
        spec,
        actor: Some(Context::actor()),
        dry_run: false,
        force: false,
    };
    let change: ChangeView = pm2
        .context
        .client
        .send("PUT", &format!("/v1/projects/{project}"), &request)?;
    let options = WaitOptions {
        no_wait: false,
        timeout: "30s".to_owned(),
        json: true,
    };
    wait::until_live(
        &mut pm2.context,
        &Subject::Project(&project),
        &change,
        &options,
        &Interrupt::never(),
    )?;
    pm2.say(&format!("Serving {} on port {}", folder.display(), words.port))?;
    pm2.say(&format!("`hythe down -p {project}` ends that"))
}

/// The folder as a project.
fn manifest(name: &str, folder: &str, words: &ServeWords) -> Value {
    let mut files = json!({ "root": folder });
    if words.spa {
        files["fallback"] = json!("index.html");
    }
    let mut service = json!({ "files": files });
    if let (Some(user), Some(password)) = (&words.basic_auth_username, &words.basic_auth_password) {
        let users = json!({ user: format!("{{PLAIN}}{password}") });
        service["plugins"] = json!([{ "name": "basic-auth", "config": { "users": users } }]);
    }
    json!({
        "name": name,
        "services": { "site": service },
        "listeners": { "site": { "listen": format!("0.0.0.0:{}", words.port) } },
        "routes": [{ "name": "all", "service": "site", "paths": ["/"], "listeners": ["site"] }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_project() {
        let mut words = ServeWords {
            path: "public".into(),
            port: 8080,
            name: None,
            spa: false,
            basic_auth_username: None,
            basic_auth_password: None,
        };
        let plain = manifest("site", "/srv", &words);
        assert_eq!(plain["services"]["site"], json!({"files": {"root": "/srv"}}));
        assert_eq!(plain["listeners"]["site"]["listen"], "0.0.0.0:8080");
        words.spa = true;
        words.basic_auth_username = Some("me".to_owned());
        words.basic_auth_password = Some("x".to_owned());
        let full = &manifest("site", "/srv", &words)["services"]["site"];
        assert_eq!(full["files"]["fallback"], "index.html");
        assert_eq!(full["plugins"][0]["config"]["users"]["me"], "{PLAIN}x");
    }
}
