//! A configuration of nginx as a project: for `hythe import nginx`, and for the server that runs one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use hythe_api::wire::ApplyRequest;
use hythe_dialect_nginx::{Effect, NodeSettings, Note, Translation, translate};
use hythe_manifest::{DiskFiles, Inputs, PluginFinding, Source};
use hythe_model::ProjectSpec;
use hythe_model::view::ChangeView;

use super::site::Reading;
use crate::arguments::{ImportOptions, WaitOptions};
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::terminal::complain;
use crate::wait::{self, Subject};
use crate::{Context, Hooks, change};

/// `hythe import nginx FILE`: prints a manifest, writes it, or applies it.
pub(crate) fn run(context: &mut Context, options: &ImportOptions) -> Outcome {
    let file = std::path::absolute(&options.file)?;
    let reading = Reading::of(&file, "");
    reading.complain();
    if reading.verdict.error.is_some() {
        return Err(Failure::told(Exit::Usage));
    }
    let translation = translation(&reading, context.hooks);
    tell_losses(&translation.notes);
    tell_node_settings(&translation.node);
    if options.apply {
        let change = apply(context, &file, &translation)?;
        change::show(&mut context.out, &change)?;
        return await_live(context, &change);
    }
    match &options.output {
        Some(path) => {
            write_new(path, &translation.manifest)
                .map_err(|error| Failure::new(Exit::Failed, format!("write {}: {error}", path.display())))?;
            context.out.line(format!("wrote {}", path.display()))
        }
        None => context.out.raw(&translation.manifest),
    }
}

/// What somebody wrote is not lost.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// The configuration in our words.
pub(crate) fn translation(reading: &Reading, hooks: Hooks) -> Translation {
    let plugin_check = |name: &str, config: &serde_json::Map<String, serde_json::Value>| {
        let findings = (hooks.check_plugin)(name, config).into_iter();
        let message = |finding| match finding {
            PluginFinding::Problem(problem) => Some(problem.message),
            PluginFinding::Service { .. } => None,
        };
        findings.filter_map(message).collect()
    };
    translate(&reading.configuration, &plugin_check)
}

/// Tells what is lost.
pub(crate) fn tell_losses(notes: &[Note]) {
    for note in notes.iter().filter(|note| note.effect != Effect::NotNeeded) {
        complain(note);
    }
}

/// Tells what the server has to be started with, as no manifest says it.
fn tell_node_settings(node: &NodeSettings) {
    if node.trusted_proxies.is_empty() {
        return;
    }
    let proxies = node.trusted_proxies.join(",");
    let header = node.real_ip_header.as_deref().unwrap_or("x-real-ip");
    let recursive = if node.real_ip_recursive { "on" } else { "off" };
    complain(format_args!(
        "proxies in front are believed by a server that is started with `--trusted-proxies {proxies} \
         --real-ip-header {header} --real-ip-recursive {recursive}`"
    ));
}

/// Applies a translation as the default project, in one change.
pub(crate) fn apply(context: &Context, file: &Path, translation: &Translation) -> Outcome<ChangeView> {
    let request = ApplyRequest {
        path: file.display().to_string(),
        spec: spec(context, file, translation)?,
        actor: Some(Context::actor()),
        dry_run: false,
        force: false,
    };
    let path = format!("/v1/projects/{}", request.spec.project);
    context.client.send("PUT", &path, &request)
}

/// Waits until a change is served.
pub(crate) fn await_live(context: &mut Context, change: &ChangeView) -> Outcome {
    let options = WaitOptions {
        no_wait: false,
        timeout: "30s".to_owned(),
        json: true,
    };
    let project = hythe_model::ProjectName::default();
    wait::until_live(
        context,
        &Subject::Project(&project),
        change,
        &options,
        &Interrupt::never(),
    )
    .map(|_| ())
}

fn spec(context: &Context, file: &Path, translation: &Translation) -> Outcome<ProjectSpec> {
    let source = Source {
        path: file.to_owned(),
        text: translation.manifest.clone(),
    };
    let inputs = Inputs {
        environment: std::collections::BTreeMap::new(),
        profiles: Vec::new(),
        plugin_check: &context.hooks.check_plugin,
        certificate_check: &crate::manifest_file::check_certificate,
        files: &DiskFiles,
    };
    let parsed = hythe_manifest::parse(&source, &inputs);
    anstream::eprint!("{}", hythe_manifest::render(&parsed.problems, &source, false));
    parsed.project.ok_or_else(|| {
        let message = "the translation cannot be served";
        Failure::new(Exit::Usage, message)
            .hint("write it to a file (`-o hythe.yaml`), change it, and use `hythe up`")
    })
}
