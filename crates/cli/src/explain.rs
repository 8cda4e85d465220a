//! `explain`: which way a request would take, and why.

use hythe_model::view::{Explanation, UpstreamView};

use crate::Context;
use crate::arguments::ExplainOptions;
use crate::client::encode;
use crate::failure::Outcome;
use crate::terminal::{Terminal, Tone};

pub(crate) fn run(context: &mut Context, options: &ExplainOptions) -> Outcome {
    let mut path = format!(
        "/v1/explain?method={}&url={}",
        encode(&options.method),
        encode(&options.url)
    );
    for header in &options.headers {
        path.push_str(&format!("&header={}", encode(header)));
    }
    if let Some(listener) = &options.listener {
        path.push_str(&format!("&listener={}", encode(listener)));
    }
    let explanation: Explanation = context.client.get(&path)?;
    if options.json {
        return context.out.json(&explanation);
    }
    show(&mut context.out, &explanation)
}

fn show(out: &mut Terminal, explanation: &Explanation) -> Outcome {
    let Explanation {
        method, host, path, ..
    } = explanation;
    out.line(format!(
        "{} on host {host}",
        Tone::Strong.paint(&format!("{method} {path}"))
    ))?;
    match &explanation.route {
        Some(route) => {
            field(
                out,
                "route",
                &format!("{} ({})", Tone::Good.paint(&route.name), route.because),
            )?;
            field(out, "service", route.service.as_deref().unwrap_or("none"))?;
        }
        None => field(out, "route", &Tone::Bad.paint("none"))?,
    }
    for (number, candidate) in explanation.candidates.iter().enumerate() {
        field(
            out,
            if number == 0 { "not" } else { "" },
            &format!("{}: {}", candidate.name, candidate.reason),
        )?;
    }
    let plugins = if explanation.plugins.is_empty() {
        "none".to_owned()
    } else {
        explanation.plugins.join(", ")
    };
    field(out, "plugins", &plugins)?;
    if let Some(upstream) = &explanation.upstream {
        show_upstream(out, upstream)?;
    }
    if let Some(answer) = &explanation.answer {
        field(
            out,
            "answer",
            &Tone::Bad.paint(&format!("{} {}", answer.status, answer.message)),
        )?;
    }
    Ok(())
}

fn show_upstream(out: &mut Terminal, upstream: &UpstreamView) -> Outcome {
    field(
        out,
        "sent as",
        &format!("{} with Host: {}", upstream.path, upstream.host),
    )?;
    field(out, "pool", &format!("{}, {}", upstream.pool, upstream.algorithm))?;
    for endpoint in &upstream.endpoints {
        let next = upstream
            .endpoint
            .as_ref()
            .is_some_and(|next| next.id == endpoint.id);
        let mark = if next {
            Tone::Good.paint("next")
        } else {
            "    ".to_owned()
        };
        let obstacle = endpoint.not_picked.as_ref();
        let obstacle = obstacle.map(|why| format!(" ({why})")).unwrap_or_default();
        let text = format!(
            "{mark} {} at {}, weight {}, {} in flight{obstacle}",
            endpoint.id, endpoint.address, endpoint.weight, endpoint.in_flight
        );
        field(out, "instance", &text)?;
    }
    Ok(())
}

fn field(out: &mut Terminal, name: &str, value: &str) -> Outcome {
    out.line(format!("  {} {value}", Tone::Faint.paint(&format!("{name:9}"))))
}
