//! Who may do what.
//!
//! Whoever can open the socket may do everything: its mode and the peer's credentials have been checked.
//! Over TCP nobody is known, and starting processes is power, also for a web page that some browser on
//! this machine shows. So:
//!
//! - `Host` must name this listener, or a name under somebody else's control could be pointed here (DNS
//!   rebinding);
//! - a change with an `Origin` that is not this listener is a page's doing and refused;
//! - a change needs the token, and so does a read from off this machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::code::Code;
use crate::extract::Door;
use crate::problem::{Answer, Refusal};
use crate::token::Token;

/// What the guard of a TCP listener knows.
pub(crate) struct Rules {
    pub(crate) bound: Option<SocketAddr>,
    pub(crate) token: Token,
}

pub(crate) async fn guard(
    State(rules): State<Arc<Rules>>,
    door: Door,
    request: Request,
    next: Next,
) -> Response {
    match rules.check(door, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl Rules {
    fn check(&self, door: Door, request: &Request) -> Answer<()> {
        let Door::Tcp(peer) = door else { return Ok(()) };
        let host = host(request)
            .ok_or_else(|| Refusal::new(Code::HostMissing, "the request has no usable Host header"))?;
        if !self.is_ours(host.host()) {
            let detail = format!("this API is not called `{}`", host.host());
            let refusal = Refusal::new(Code::HostNotAllowed, detail);
            return Err(refusal.hint("use localhost or the address it listens on"));
        }
        let write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if write && !is_same_origin(request.headers(), host.as_str()) {
            let detail = "changes from pages of another origin are refused";
            return Err(Refusal::new(Code::OriginNotAllowed, detail));
        }
        let near = peer.is_some_and(|peer| is_loopback(peer.ip()));
        if write || !near {
            self.check_token(request.headers())
        } else {
            Ok(())
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let bound = self.bound.map(|bound| bound.ip());
        // Listening on every address means being any address; a rebound name is never a literal.
        literal.is_ok_and(|ip| {
            is_loopback(ip) || bound.is_some_and(|bound| bound == ip || bound.is_unspecified())
        })
    }

    fn check_token(&self, headers: &HeaderMap) -> Answer<()> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let Some(given) = given.and_then(bearer) else {
            let refusal = Refusal::new(Code::TokenRequired, "this needs the API's token");
            return Err(refusal
                .hint("send `Authorization: Bearer` with the content of api-token in the data directory"));
        };
        if self.token.is(given) {
            return Ok(());
        }
        Err(Refusal::new(Code::TokenWrong, "this is not the API's token"))
    }
}

/// Adds what HTTP asks of a 401.
pub(crate) async fn challenge(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The host that the request is for; none if it names several or an unreadable one.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

fn is_same_origin(headers: &HeaderMap, host: &str) -> bool {
    let same = format!("http://{host}");
    headers
        .get_all(header::ORIGIN)
        .iter()
        .all(|origin| origin.as_bytes().eq_ignore_ascii_case(same.as_bytes()))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
