//! The only place where something that went wrong becomes a status, a text and a page.
//!
//! Texts and shapes are those of Kong 3.9, so that its users' clients understand ours. The shape follows
//! `Accept`: JSON (also without one), HTML, XML or plain text. No page tells about our insides.

use hythe_http1::{Known, Refusal, RequestHead, push_decimal, push_field, push_status_line, reason_phrase};

use crate::edits::Edits;
use crate::exchange::known_value;

/// An answer of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Content type.
    pub content_type: String,
    /// Further fields.
    pub fields: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// What the gateway says when it cannot or will not pass a request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request breaks the rules of the wire.
    Refused(Refusal),
    /// The request's head stopped in the middle.
    Truncated,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The body broke the rules of its framing.
    BadBody,
    /// The body is larger than the route lets it be.
    TooLarge,
    /// No route.
    NoRoute,
    /// The route's service is missing or disabled.
    NoService,
    /// The route wants HTTPS.
    HttpsRequired,
    /// The route takes calls of gRPC, and those come in HTTP/2.
    Http2Required,
    /// The route takes calls of gRPC only.
    NotGrpc,
    /// The request came in clear where TLS is spoken.
    PlainHttp,
    /// The pool has no usable endpoint.
    NoEndpoint,
    /// The pool's circuit breaker is open.
    Overloaded,
    /// The upstream's name was never resolved.
    NameResolution,
    /// The upstream could not be reached, broke off, or answered nonsense.
    BadUpstream,
    /// The upstream took too long.
    UpstreamTimeout,
    /// A plugin of the route cannot be read, so nobody knows whom it would let pass.
    Misconfigured,
    /// A panic, or anything else that should not be.
    Internal,
}

/// The whole answer to a client that there is no room for: made without looking at what it asks.
pub(crate) const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nServer: hythe\r\n\
      Retry-After: 1\r\nContent-Length: 21\r\nConnection: close\r\n\r\nToo many connections\n";

/// The form of an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON, two spaces deep.
    Json,
    /// HTML.
    Html,
    /// XML.
    Xml,
    /// Plain text.
    Plain,
}

impl Reply {
    /// An answer without further fields.
    pub fn new(status: u16, content_type: String, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            fields: Vec::new(),
            body,
        }
    }

    /// The page for a failure.
    pub fn page(failure: Failure, form: Form, request_id: &str) -> Self {
        let (status, message) = failure.says();
        let mut reply = Self::error(status, message, form, request_id);
        let upgrade = match failure {
            Failure::HttpsRequired => "TLS/1.2, HTTP/1.1",
            Failure::Http2Required => "HTTP/2",
            _ => return reply,
        };
        reply.fields.push(("Connection".to_owned(), "Upgrade".to_owned()));
        reply.fields.push(("Upgrade".to_owned(), upgrade.to_owned()));
        reply
    }

    /// An error page with any text.
    pub fn error(status: u16, message: &str, form: Form, request_id: &str) -> Self {
        let (content_type, body) = form.render(message, request_id);
        Self::new(status, content_type.to_owned(), body.into_bytes())
    }

    /// The same with one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        if name.eq_ignore_ascii_case("content-type") {
            return Some(&self.content_type);
        }
        let found = self
            .fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Writes the whole answer; how many bytes of it are body. `head_only`: the request was a HEAD.
    pub(crate) fn write(&self, out: &mut Vec<u8>, parts: &ReplyParts<'_>) -> usize {
        push_status_line(out, self.status, reason_phrase(self.status).as_bytes());
        let mut field = |name: &str, value: &[u8]| {
            if !parts.edits.drops(name.as_bytes()) {
                push_field(out, name.as_bytes(), value);
            }
        };
        field("Date", parts.date);
        field("Content-Type", self.content_type.as_bytes());
        field("Server", concat!("hythe/", env!("CARGO_PKG_VERSION")).as_bytes());
        for (name, value) in &self.fields {
            field(name, value.as_bytes());
        }
        field("X-Request-Id", parts.request_id.as_bytes());
        for (name, value) in parts.edits.added() {
            push_field(out, name.as_bytes(), value);
        }
        if parts.close {
            push_field(out, b"Connection", b"close");
        } else if parts.announce_keep_alive {
            push_field(out, b"Connection", b"keep-alive");
        }
        let bodiless = matches!(self.status, 100..200 | 204 | 304);
        if !bodiless {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(out, self.body.len() as u64);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if bodiless || parts.head_only {
            return 0;
        }
        out.extend_from_slice(&self.body);
        self.body.len()
    }
}

/// What the connection adds to an answer of our own.
pub(crate) struct ReplyParts<'a> {
    pub(crate) date: &'a [u8],
    pub(crate) request_id: &'a str,
    pub(crate) edits: &'a Edits,
    pub(crate) close: bool,
    pub(crate) announce_keep_alive: bool,
    pub(crate) head_only: bool,
}

impl Failure {
    /// Status and text.
    pub fn says(self) -> (u16, &'static str) {
        match self {
            Self::Refused(refusal) => match refusal.status() {
                405 => (405, "Method not allowed"),
                414 => (414, "URI too long"),
                505 => (505, "HTTP version not supported"),
                _ if refusal.kind.is_too_large() => (400, "Request header or cookie too large"),
                _ => (400, "Bad request"),
            },
            Self::RequestTimeout => (408, "Request timeout"),
            Self::BadBody | Self::Truncated => (400, "Bad request"),
            Self::TooLarge => (413, "Request size limit exceeded"),
            Self::NoRoute => (404, "no Route matched with those values"),
            Self::NoService => (503, "no Service found with those values"),
            Self::HttpsRequired => (426, "Please use HTTPS protocol"),
            Self::Http2Required => (426, "Please use HTTP2 protocol"),
            Self::NotGrpc => (415, "Non-gRPC request matched gRPC route"),
            Self::PlainHttp => (400, "The plain HTTP request was sent to HTTPS port"),
            Self::NoEndpoint => (503, "failure to get a peer from the ring-balancer"),
            Self::NameResolution => (503, "name resolution failed"),
            Self::BadUpstream => (502, "An invalid response was received from the upstream server"),
            Self::UpstreamTimeout => (504, "The upstream server is timing out"),
            Self::Misconfigured | Self::Overloaded => (503, "The upstream server is currently unavailable"),
            Self::Internal => (500, "An unexpected error occurred"),
        }
    }
}

impl Form {
    /// The form a client asks for. Without `Accept`: JSON.
    pub fn wanted_by(head: &RequestHead, bytes: &[u8]) -> Self {
        known_value(head, bytes, Known::Accept).map_or(Self::Json, Self::negotiate)
    }

    /// The acceptable form with the highest quality; the first of equals; JSON if there is none.
    fn negotiate(accept: &[u8]) -> Self {
        let accept = String::from_utf8_lossy(accept);
        let mut best: Option<(u16, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';');
            let Some(form) = parts.next().and_then(|media| Self::of_media(media.trim())) else {
                continue;
            };
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1000, quality);
            if quality > 0 && best.is_none_or(|(highest, _)| quality > highest) {
                best = Some((quality, form));
            }
        }
        best.map_or(Self::Json, |(_, form)| form)
    }

    fn of_media(media: &str) -> Option<Self> {
        match media.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "text/html" | "text/*" | "application/xhtml+xml" => Some(Self::Html),
            "application/xml" | "text/xml" => Some(Self::Xml),
            "text/plain" => Some(Self::Plain),
            _ => None,
        }
    }

    fn render(self, message: &str, request_id: &str) -> (&'static str, String) {
        let message = match self {
            Self::Html | Self::Xml => &*without_markup(message),
            Self::Json | Self::Plain => message,
        };
        match self {
            Self::Json => (
                "application/json; charset=utf-8",
                format!(
                    "{{\n  \"message\":{},\n  \"request_id\":\"{request_id}\"\n}}",
                    serde_json::Value::from(message)
                ),
            ),
            Self::Html => (
                "text/html; charset=utf-8",
                format!(
                    "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  \
                     </head>\n  <body>\n    <h1>Error</h1>\n    <p>{message}.</p>\n    \
                     <p>request_id: {request_id}</p>\n  </body>\n</html>\n"
                ),
            ),
            Self::Xml => (
                "application/xml; charset=utf-8",
                format!("<error><message>{message}</message><requestid>{request_id}</requestid></error>"),
            ),
            Self::Plain => (
                "text/plain; charset=utf-8",
                format!("{message}\nrequest_id: {request_id}\n"),
            ),
        }
    }
}

fn without_markup(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Thousandths of `q`; a malformed one counts as 1 (RFC 9110 leaves it open).
pub(crate) fn quality(text: &str) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1000"
    )]
    text.trim()
        .parse::<f32>()
        .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_accept() {
        let rows = [
            ("application/json", Form::Json),
            ("*/*", Form::Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Form::Html,
            ),
            ("text/plain;q=0.5, application/xml;q=0.6", Form::Xml),
            ("text/plain", Form::Plain),
            ("image/png", Form::Json),
            ("text/html;q=0, text/plain;q=0.1", Form::Plain),
            ("", Form::Json),
        ];
        for (accept, form) in rows {
            assert_eq!(Form::negotiate(accept.as_bytes()), form, "{accept}");
        }
    }

    #[test]
    fn pages_are_exactly_as_promised() {
        let body = |form| String::from_utf8(Reply::page(Failure::NoRoute, form, "00ff").body).unwrap();
        assert_eq!(
            body(Form::Json),
            "{\n  \"message\":\"no Route matched with those values\",\n  \"request_id\":\"00ff\"\n}"
        );
        assert_eq!(
            body(Form::Plain),
            "no Route matched with those values\nrequest_id: 00ff\n"
        );
        assert_eq!(
            body(Form::Xml),
            "<error><message>no Route matched with those values</message><requestid>00ff</requestid></error>"
        );
        assert!(body(Form::Html).contains("<h1>Error</h1>\n    <p>no Route matched with those values.</p>"));
    }

    #[test]
    fn a_text_cannot_break_its_page() {
        let body = |form| {
            let reply = Reply::error(403, "say \"no\" & <b>", form, "00ff");
            String::from_utf8(reply.body).unwrap()
        };
        assert!(body(Form::Json).contains(r#""message":"say \"no\" & <b>","#));
        assert!(body(Form::Html).contains("<p>say \"no\" &amp; &lt;b&gt;.</p>"));
        assert!(body(Form::Plain).starts_with("say \"no\" & <b>\n"));
    }
}
