//! `restart`, `scale`, `stop`, `start`: one change to some services, and the wait until it is live.

use hythe_api::wire::{ActionRequest, ProjectView, ReplicasText, ScaleRequest, ServiceDetail};
use hythe_model::ProjectName;
use hythe_model::view::{ChangeLine, ChangeView};
use serde::Serialize;

use crate::Context;
use crate::arguments::{ChangeOptions, ScaleOptions, WaitOptions};
use crate::client::encode;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::terminal::{Terminal, Tone, complain};
use crate::wait::{self, Subject};

pub(crate) fn restart(context: &mut Context, options: &ChangeOptions) -> Outcome {
    act(context, options, "restart")
}

pub(crate) fn stop(context: &mut Context, options: &ChangeOptions) -> Outcome {
    act(context, options, "stop")
}

pub(crate) fn start(context: &mut Context, services: &[String], wait: &WaitOptions) -> Outcome {
    act_on(context, services, wait, "start")
}

pub(crate) fn delete(context: &mut Context, options: &ChangeOptions) -> Outcome {
    let scope = context.scope()?;
    let mut services = scope.services(&context.client, &options.services)?;
    if options.services.iter().any(|name| name == "all") {
        let described = of_manifest(context, &scope.project)?;
        services.retain(|service| !described.contains(service));
        if services.is_empty() {
            let message = format!("every service of project `{}` is of its manifest", scope.project);
            return Err(Failure::new(Exit::NotFound, message).hint("`hythe down` removes them"));
        }
    }
    let actor = encode(&Context::actor());
    let remove = |context: &Context, service: &str, (): &()| {
        let path = format!("/v1/services/{}?actor={actor}", encode(service));
        context.client.send("DELETE", &path, &())
    };
    let requests = services.into_iter().map(|service| (service, ())).collect();
    each(context, requests, remove, &options.wait)
}

/// The services that the project's manifest describes.
fn of_manifest(context: &Context, project: &ProjectName) -> Outcome<Vec<String>> {
    let projects: Vec<ProjectView> = context.client.get("/v1/projects")?;
    let own = projects.into_iter().find(|known| known.name == project.as_str());
    let names = own.map(|project| project.services).unwrap_or_default();
    let full = |name: String| match project.is_default() {
        true => name,
        false => format!("{project}.{name}"),
    };
    Ok(names.into_iter().map(full).collect())
}

fn act(context: &mut Context, options: &ChangeOptions, verb: &str) -> Outcome {
    act_on(context, &options.services, &options.wait, verb)
}

fn act_on(context: &mut Context, services: &[String], wait: &WaitOptions, verb: &str) -> Outcome {
    let services = context.scope()?.services(&context.client, services)?;
    let request = ActionRequest {
        actor: Some(Context::actor()),
    };
    let requests = services
        .into_iter()
        .map(|service| (service, request.clone()))
        .collect();
    each(context, requests, post(verb), wait)
}

pub(crate) fn scale(context: &mut Context, options: &ScaleOptions) -> Outcome {
    let scope = context.scope()?;
    let wanted = parse_scale(&options.wanted)?;
    let request = |(name, replicas): (String, _)| {
        let actor = Some(Context::actor());
        Ok((scope.full(&name)?, ScaleRequest { replicas, actor }))
    };
    let requests = wanted.into_iter().map(request).collect::<Outcome<_>>()?;
    each(context, requests, post("scale"), &options.wait)
}

fn post<T: Serialize>(verb: &str) -> impl Fn(&Context, &str, &T) -> Outcome<ChangeView> {
    move |context, service, request| context.client.send("POST", &path(service, verb), request)
}

/// Asks for one change to each service, once all are known to be there. When one is refused all the same, the
/// ones before are shown and waited for like any other.
fn each<T>(
    context: &mut Context,
    requests: Vec<(String, T)>,
    ask: impl Fn(&Context, &str, &T) -> Outcome<ChangeView>,
    options: &WaitOptions,
) -> Outcome {
    for (service, _) in &requests {
        check(context, service)?;
    }
    let mut change = ChangeView::default();
    let mut changed = Vec::new();
    let mut refused = Ok(());
    for (service, request) in requests {
        match ask(context, &service, &request) {
            Ok(one) => merge(&mut change, one),
            Err(failure) => {
                refused = Err(failure);
                break;
            }
        }
        changed.push(service);
    }
    if changed.is_empty() {
        return refused;
    }
    let finished = finish(context, &changed, &change, options);
    if let (Err(_), Err(failure)) = (&refused, &finished) {
        complain(failure);
    }
    refused.and(finished)
}

/// Whether a service is there and runs here.
fn check(context: &Context, service: &str) -> Outcome {
    let path = format!("/v1/services/{}", encode(service));
    let detail: ServiceDetail = context.client.get(&path)?;
    match detail.workload {
        Some(_) => Ok(()),
        None => {
            let message = format!("`{service}` does not run here: it is only balanced");
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

fn path(service: &str, verb: &str) -> String {
    format!("/v1/services/{}/{verb}", encode(service))
}

/// `users=4 web=max`, or `users 4`.
fn parse_scale(words: &[String]) -> Outcome<Vec<(String, ReplicasText)>> {
    let pairs: Vec<(&str, &str)> = match words {
        [name, number] if !name.contains('=') && !number.contains('=') => vec![(name, number)],
        words => words
            .iter()
            .map(|word| {
                word.split_once('=').ok_or_else(|| {
                    Failure::new(Exit::Usage, format!("`{word}` does not say how many"))
                        .hint("write `hythe scale users=4`, or `hythe scale users 4`")
                })
            })
            .collect::<Outcome<_>>()?,
    };
    pairs
        .into_iter()
        .map(|(name, number)| Ok((name.to_owned(), replicas(number)?)))
        .collect()
}

fn replicas(text: &str) -> Outcome<ReplicasText> {
    let replicas = match text.parse() {
        Ok(count) => ReplicasText::Count(count),
        Err(_) => ReplicasText::Text(text.to_owned()),
    };
    match replicas.parse() {
        Some(_) => Ok(replicas),
        None => Err(Failure::new(
            Exit::Usage,
            format!("`{text}` is not a number from 0 to 1000, nor `max`"),
        )),
    }
}

fn merge(all: &mut ChangeView, one: ChangeView) {
    all.generation = all.generation.max(one.generation);
    all.changes.extend(one.changes);
    all.conflicts.extend(one.conflicts);
    all.warnings.extend(one.warnings);
}

pub(crate) fn finish(
    context: &mut Context,
    services: &[String],
    change: &ChangeView,
    options: &WaitOptions,
) -> Outcome {
    if !options.json {
        show(&mut context.out, change)?;
    }
    if !options.no_wait {
        wait::until_live(
            context,
            &Subject::Services(services),
            change,
            options,
            &Interrupt::never(),
        )?;
    }
    if options.json {
        context.out.json(change)
    } else {
        Ok(())
    }
}

/// A plan, a line for each document: `+ users`, `~ users: replicas 2 -> 4`, `- web`.
pub(crate) fn show(out: &mut Terminal, change: &ChangeView) -> Outcome {
    for warning in &change.warnings {
        out.line(format!("{} {warning}", Tone::Busy.paint("!")))?;
    }
    if change.changes.is_empty() {
        out.line("nothing to change")?;
    }
    for line in &change.changes {
        out.line(change_line(line))?;
    }
    for conflict in &change.conflicts {
        out.line(format!("{} {conflict}", Tone::Busy.paint("=")))?;
    }
    Ok(())
}

fn change_line(line: &ChangeLine) -> String {
    let (mark, tone) = match line.action.as_str() {
        "create" => ("+", Tone::Good),
        "delete" => ("-", Tone::Bad),
        _ => ("~", Tone::Busy),
    };
    let mut text = format!("{} {} {}", tone.paint(mark), line.kind, line.name);
    if !line.fields.is_empty() {
        text.push_str(&format!(": {}", line.fields.join(", ")));
    }
    if line.rolls {
        text.push_str(&Tone::Faint.paint(" (instances are replaced one by one)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(words: &[&str]) -> Result<String, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        match parse_scale(&words) {
            Ok(pairs) => Ok(pairs
                .iter()
                .map(|(name, replicas)| format!("{name}:{replicas:?} "))
                .collect()),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn scale_takes_both_forms() {
        assert_eq!(scaled(&["users=4"]).unwrap(), "users:Count(4) ");
        assert_eq!(scaled(&["users", "4"]).unwrap(), "users:Count(4) ");
        assert_eq!(
            scaled(&["users=max", "web=0"]).unwrap(),
            "users:Text(\"max\") web:Count(0) "
        );
        assert_eq!(scaled(&["users"]).unwrap_err(), "`users` does not say how many");
        assert_eq!(
            scaled(&["users=-1"]).unwrap_err(),
            "`-1` is not a number from 0 to 1000, nor `max`"
        );
        assert_eq!(
            scaled(&["users", "many"]).unwrap_err(),
            "`many` is not a number from 0 to 1000, nor `max`"
        );
    }

    #[test]
    fn a_plan_is_a_line_each() {
        let line = ChangeLine {
            action: "update".to_owned(),
            kind: "workload".to_owned(),
            name: "users".to_owned(),
            fields: vec!["replicas: 2 -> 4".to_owned()],
            rolls: false,
        };
        let plain = anstream::adapter::strip_str(&change_line(&line)).to_string();
        assert_eq!(plain, "~ workload users: replicas: 2 -> 4");
    }
}
