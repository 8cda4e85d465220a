//! Heads from one form to the other.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hythe_http1::{
    CRLF, ChunkedDecoder, Field, Known, RequestHead, ResponseHead, push_decimal, push_field,
    push_status_line, reason_phrase,
};

/// How the end of a body is told in HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// There is none, or its length stands among the fields.
    Nothing,
    /// This length, which the fields do not say.
    Length(u64),
    /// Chunks.
    Chunks,
}

/// Writes a request's head. That its target is a path or an asterisk, and not a whole URI, the codec has seen to.
///
/// Nothing is left out that the reader of the head should refuse: a `Host` that differs from the authority
/// stays, so that there are two.
pub(crate) fn push_request(out: &mut Vec<u8>, request: &http::request::Parts, body: Announced) {
    let target = request.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let authority = request
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        push_field(out, b"Host", authority);
    }
    for (name, value) in &request.headers {
        let said = name == HOST
            && authority.is_some_and(|authority| value.as_bytes().eq_ignore_ascii_case(authority));
        if name != COOKIE && !said {
            push_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    push_cookie(out, &request.headers);
    push_end(out, body);
}

/// Crumbs of a cookie become one field again (RFC 9113 8.2.3).
fn push_cookie(out: &mut Vec<u8>, fields: &HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for crumb in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(CRLF);
}

/// Writes an answer's head.
pub(crate) fn push_response(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap, body: Announced) {
    push_status_line(out, status.as_u16(), reason_phrase(status.as_u16()).as_bytes());
    for (name, value) in fields {
        push_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    push_end(out, body);
}

fn push_end(out: &mut Vec<u8>, body: Announced) {
    match body {
        Announced::Nothing => {}
        Announced::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_decimal(out, length);
            out.extend_from_slice(CRLF);
        }
        Announced::Chunks => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(CRLF);
}

/// Whether the fields tell the body's length.
pub(crate) fn tells_length(fields: &HeaderMap) -> bool {
    fields.contains_key(CONTENT_LENGTH)
}

/// An answer's head in HTTP/2; `None` when it cannot be said there.
pub(crate) fn response(head: &ResponseHead, bytes: &[u8]) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    *response.headers_mut() = fields(&head.fields, bytes.get(..head.len)?, |field| !field.hop)?;
    Some(response)
}

/// A request's head in HTTP/2; `None` when it cannot be said there.
pub(crate) fn request(head: &RequestHead, bytes: &[u8], scheme: &Scheme) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(head.method.of(bytes)).ok()?;
    *request.uri_mut() = Uri::builder()
        .scheme(scheme.clone())
        .authority(Authority::try_from(head.host.of(bytes)).ok()?)
        .path_and_query(PathAndQuery::try_from(head.target.of(bytes)).ok()?)
        .build()
        .ok()?;
    let kept = |field: &Field| !field.hop && field.known != Some(Known::Host);
    *request.headers_mut() = fields(&head.fields, bytes.get(..head.len)?, kept)?;
    if head.te_trailers {
        request
            .headers_mut()
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

/// The trailers of a body in chunks.
pub(crate) fn trailers(decoder: &ChunkedDecoder) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in decoder.trailers() {
        map.append(
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(map)
}

/// A head up to this long is copied once for all its values. Longer ones are not: the codec keeps some values in its
/// table as long as the connection lives, and with them the whole copy.
const SHARED: usize = 512;

/// The fields of `head`.
fn fields(fields: &[Field], head: &[u8], keep: impl Fn(&Field) -> bool) -> Option<HeaderMap> {
    let shared = (head.len() <= SHARED).then(|| Bytes::copy_from_slice(head));
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields.iter().filter(|field| keep(field)) {
        let name = HeaderName::from_bytes(field.name.of(head)).ok()?;
        let value = match &shared {
            Some(shared) => shared.slice(field.value.start as usize..field.value.end as usize),
            None => Bytes::copy_from_slice(field.value.of(head)),
        };
        map.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use hythe_http1::{Limits, Progress, RequestKind};

    use super::*;

    fn text(request: Request<()>, body: Announced) -> String {
        let mut out = Vec::new();
        push_request(&mut out, &request.into_parts().0, body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_becomes_text() {
        let request = Request::builder()
            .method("POST")
            .uri("http://shop.test:81/a%20b?q=1")
            .header("host", "SHOP.test:81")
            .header("cookie", "a=1")
            .header("x-one", "1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        assert_eq!(
            text(request, Announced::Chunks),
            "POST /a%20b?q=1 HTTP/1.1\r\nHost: shop.test:81\r\nx-one: 1\r\ncookie: a=1; b=2\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn a_host_that_differs_stays_to_be_refused() {
        let request = Request::builder()
            .uri("http://a/")
            .header("host", "b")
            .body(())
            .unwrap();
        let text = text(request, Announced::Nothing);
        assert_eq!(text, "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n");
        let refused = RequestHead::default().parse(text.as_bytes(), &Limits::default());
        assert_eq!(refused.unwrap_err().reason(), "several Host fields");
    }

    #[test]
    fn text_becomes_a_request() {
        let bytes =
            b"POST /svc.Greeter/Hello?x HTTP/1.1\r\nHost: users\r\nContent-Type: application/grpc\r\n\
            Connection: TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut head = RequestHead::default();
        assert_eq!(head.parse(bytes, &Limits::default()).unwrap(), Progress::Complete);
        let request = request(&head, bytes, &Scheme::HTTP).unwrap();
        assert_eq!(request.uri(), "http://users/svc.Greeter/Hello?x");
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            fields,
            [("content-type", &b"application/grpc"[..]), ("te", b"trailers")]
        );
    }

    #[test]
    fn text_becomes_an_answer() {
        let bytes = b"HTTP/1.1 404 Not Here\r\nContent-Length: 2\r\nConnection: close\r\nX-A: \xe9\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(bytes, &Limits::default(), RequestKind::Other).unwrap();
        let response = response(&head, bytes).unwrap();
        assert_eq!(response.status(), 404);
        let fields: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(fields, [("content-length", &b"2"[..]), ("x-a", b"\xe9")]);
    }
}
