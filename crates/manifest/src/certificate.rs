//! Kong's certificates: who the gateway is and whom it believes.
//!
//! A text stands in the manifest itself or in a file beside it. What is inside is not known here: the caller
//! checks it, and this places its complaints.

use hythe_model::{CaCertificate, Certificate, Name};

use crate::CertificateProblem;
use crate::address;
use crate::context::Context;
use crate::derived_name::{derived, hash8};
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, ignored, key};
use crate::node::Node;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;

pub(crate) static CERTIFICATE: Table = Table {
    name: "certificate",
    title: "a certificate",
    doc: "A certificate with its key, as PEM: `cert` or `cert_file`, and `key` or `key_file`. Clients that ask for one of its names are shown it. Keys are never shown again.",
    interpolated: false,
    keys: &[
        key(
            "name",
            Shape::Text,
            "What services call it (`client_certificate`). Default: made from the first of `snis`, or from the file's name.",
        ),
        key("cert", Shape::Text, "The chain, the own certificate first."),
        key(
            "cert_file",
            Shape::Text,
            "The file with the chain, from the manifest's folder.",
        ),
        key("key", Shape::Text, "The private key, not encrypted."),
        key("key_file", Shape::Text, "The file with the key."),
        key(
            "cert_alt",
            Shape::Text,
            "Another chain for the same names, with a key of another kind (one ECDSA, one RSA).",
        ),
        key("cert_alt_file", Shape::Text, "The file with it."),
        key("key_alt", Shape::Text, "Its private key."),
        key("key_alt_file", Shape::Text, "The file with it."),
        key(
            "snis",
            TEXTS,
            "The names it is shown for: `shop.example.com`, `*.example.com` for one label, or `*` when nothing else fits. Default: those that stand in it.",
        ),
        key("tags", TEXTS, TAGS_DOC),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

pub(crate) static CA_CERTIFICATE: Table = Table {
    name: "ca-certificate",
    title: "a CA certificate",
    doc: "The certificate of an authority that services name in `ca_certificates`: `cert` or `cert_file`.",
    interpolated: false,
    keys: &[
        key(
            "name",
            Shape::Text,
            "What services call it. Default: made from the file's name.",
        ),
        key("cert", Shape::Text, "The certificate, as PEM."),
        key(
            "cert_file",
            Shape::Text,
            "The file with it, from the manifest's folder.",
        ),
        key("tags", TEXTS, TAGS_DOC),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

/// A text and where it was named.
struct Pem {
    text: String,
    span: Span,
}

/// Reads one entry of the top-level `certificates`.
pub(crate) fn read(cx: &Context<'_>, node: &Node, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &CERTIFICATE) else {
        return;
    };
    let pair = pair(&block, ("cert", "cert_file"), ("key", "key_file"));
    let alternative = pair_if_any(&block);
    let snis = block.has("snis").then(|| snis(&block, draft));
    let Some(name) = name(&block, snis.as_deref()) else {
        return cx.report(node.error("a certificate needs a `name`, `snis` or a `cert_file`"));
    };
    draft.define(cx, Kind::Certificate, &name, span_of_name(&block));
    let Some((cert, key)) = pair else { return };
    let (cert_alt, key_alt) = alternative.unzip();
    let certificate = Certificate {
        cert,
        key,
        cert_alt,
        key_alt,
        snis,
        tags: block.tags(),
    };
    draft.spec.certificates.insert(name, certificate);
}

/// Reads one entry of the top-level `ca_certificates`.
pub(crate) fn read_authority(cx: &Context<'_>, node: &Node, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &CA_CERTIFICATE) else {
        return;
    };
    let cert = pem(&block, "cert", "cert_file");
    let Some(name) = name(&block, None) else {
        return cx.report(node.error("a CA certificate needs a `name` or a `cert_file`"));
    };
    draft.define(cx, Kind::CaCertificate, &name, span_of_name(&block));
    let Some(cert) = cert else { return };
    for problem in (cx.inputs.certificate_check)(&cert.text, None) {
        place(cx, &problem, &cert, &cert);
    }
    let certificate = CaCertificate {
        cert: cert.text,
        tags: block.tags(),
    };
    draft.spec.ca_certificates.insert(name, certificate);
}

fn pair_if_any(block: &Block<'_>) -> Option<(String, String)> {
    let keys = ["cert_alt", "cert_alt_file", "key_alt", "key_alt_file"];
    if !keys.iter().any(|key| block.has(key)) {
        return None;
    }
    pair(block, ("cert_alt", "cert_alt_file"), ("key_alt", "key_alt_file"))
}

/// A chain and its key, checked together.
fn pair(block: &Block<'_>, cert: (&str, &str), key: (&str, &str)) -> Option<(String, String)> {
    let cert = pem(block, cert.0, cert.1);
    let key = pem(block, key.0, key.1);
    let (cert, key) = (cert?, key?);
    for problem in (block.cx.inputs.certificate_check)(&cert.text, Some(&key.text)) {
        place(block.cx, &problem, &cert, &key);
    }
    Some((cert.text, key.text))
}

fn place(cx: &Context<'_>, problem: &CertificateProblem, cert: &Pem, key: &Pem) {
    let at = if problem.of_key { key.span } else { cert.span };
    let message = problem.message.clone();
    cx.report(if problem.fatal {
        Finding::error(at, message)
    } else {
        Finding::warning(at, message)
    });
}

/// The text of `inline`, or of the file that `file` names.
fn pem(block: &Block<'_>, inline: &str, file: &str) -> Option<Pem> {
    let cx = block.cx;
    match (block.entry(inline), block.entry(file)) {
        (Some(_), Some(entry)) => {
            let message = format!("`{inline}` says what `{file}` says");
            cx.report(Finding::error(entry.key_span, message));
            None
        }
        // Complaints are placed at the word, so that the text, which may be a key, is not repeated.
        (Some(entry), None) => Some(Pem {
            text: cx.text(&entry.value)?.to_owned(),
            span: entry.key_span,
        }),
        (None, Some(entry)) => read_file(cx, &entry.value),
        (None, None) => {
            let message = format!("`{inline}` or `{file}` is missing");
            cx.report(block.node.error(message));
            None
        }
    }
}

fn read_file(cx: &Context<'_>, node: &Node) -> Option<Pem> {
    let path = cx.folder.join(cx.text(node)?);
    let read = cx.inputs.files.read(&path);
    let read = read.map_err(|error| format!("`{}` cannot be read: {error}", path.display()));
    Some(Pem {
        text: cx.accept(node.span, read)?,
        span: node.span,
    })
}

/// Names of the server, each claimed once in a project.
fn snis(block: &Block<'_>, draft: &mut Draft) -> Vec<String> {
    let mut names = Vec::new();
    for (node, text) in block.texts("snis") {
        let name = text.to_ascii_lowercase();
        let host = name.strip_prefix("*.").unwrap_or(&name);
        if name != "*" && !address::is_host(host) {
            block.cx.report(
                node.error(format!("`{text}` is not the name of a server"))
                    .help("write `shop.example.com`, `*.example.com` or `*`"),
            );
        } else if !draft.claim(format!("sni {name:?}")) {
            block
                .cx
                .report(node.error(format!("another certificate is shown for `{name}`")));
        }
        names.push(name);
    }
    names
}

fn name(block: &Block<'_>, snis: Option<&[String]>) -> Option<Name> {
    if block.has("name") {
        return block.name("name");
    }
    let from = snis
        .and_then(|names| names.first().map(String::as_str))
        .or_else(|| block.get("cert_file")?.text()?.rsplit('/').next())?;
    from.parse()
        .ok()
        .or_else(|| derived("certificate", &[&hash8(from)]))
}

fn span_of_name(block: &Block<'_>) -> Span {
    block.get("name").unwrap_or(block.node).span
}
