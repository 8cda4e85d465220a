//! The GET of a check. Redirects are answers like others; of a body no more is read than is asked for.

use std::io::ErrorKind;

use hythe_http1::{Chunk, ChunkedDecoder, Framing, Limits, Progress, RequestKind, ResponseHead};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::health::settings::Settings;
use crate::health::verdict::{Failure, Outcome};

/// How much of a body is searched; nginx's bound.
const MOST_BODY: usize = 256 << 10;
/// How much is read at once.
const READ: usize = 8 << 10;

/// Sends the GET over `stream` and judges the answer.
///
/// # Errors
/// When the connection breaks before there was an answer.
pub(super) async fn check<S>(mut stream: S, settings: &Settings, host: &str) -> std::io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request(settings, host).as_bytes()).await?;
    let mut bytes = Vec::new();
    let head = match read_head(&mut stream, &mut bytes).await? {
        Ok(head) => head,
        Err(why) => return Ok(Outcome::Failure(Failure::Http, why)),
    };
    let headers = head
        .fields
        .iter()
        .map(|field| (field.name.of(&bytes), field.value.of(&bytes)));
    let outcome = settings.judge_head(head.status, &headers);
    if outcome != Outcome::Success || !settings.asks_for_body() {
        return Ok(outcome);
    }
    let rest = bytes.split_off(head.len);
    let body = read_body(&mut stream, head.framing, rest).await;
    Ok(if settings.takes_body(&body) {
        Outcome::Success
    } else {
        Outcome::Failure(Failure::Http, "the body is not as expected".to_owned())
    })
}

fn request(settings: &Settings, host: &str) -> String {
    let active = settings.active();
    let mut fields = String::new();
    let mut given_host = false;
    for (name, values) in active.headers.iter().flatten() {
        given_host |= name.eq_ignore_ascii_case("host");
        for value in values {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !given_host {
        fields.insert_str(0, &format!("Host: {host}\r\n"));
    }
    format!(
        "GET {} HTTP/1.1\r\n{fields}User-Agent: hythe-health\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        active.http_path
    )
}

/// The head of the answer at the start of `bytes`, interim ones (1xx) taken off; inside, why it is none.
async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    bytes: &mut Vec<u8>,
) -> std::io::Result<Result<ResponseHead, String>> {
    let limits = Limits::default();
    let mut head = ResponseHead::default();
    loop {
        match head.parse(bytes, &limits, RequestKind::Other) {
            Err(error) => return Ok(Err(format!("the answer is not HTTP: {}", error.reason()))),
            Ok(Progress::Complete) if (100..200).contains(&head.status) && head.status != 101 => {
                bytes.drain(..head.len);
                head.reset();
            }
            Ok(Progress::Complete) => return Ok(Ok(head)),
            Ok(Progress::Partial) => {
                bytes.reserve(READ);
                if stream.read_buf(bytes).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// The body as far as it comes, within the bound; `bytes` came with the head.
async fn read_body<S: AsyncRead + Unpin>(stream: &mut S, framing: Framing, bytes: Vec<u8>) -> Vec<u8> {
    let most = match framing {
        Framing::None => 0,
        Framing::Length(length) => usize::try_from(length).unwrap_or(MOST_BODY).min(MOST_BODY),
        Framing::Chunked | Framing::UntilClose => MOST_BODY,
    };
    let mut raw = bytes;
    while raw.len() < most {
        raw.reserve(READ);
        match stream.read_buf(&mut raw).await {
            Ok(1..) if framing == Framing::Chunked && is_whole(&raw) => break,
            Ok(1..) => {}
            // What is here may be enough; whether it is, the expression says.
            _ => break,
        }
    }
    raw.truncate(most);
    if framing == Framing::Chunked {
        payload(&raw).0
    } else {
        raw
    }
}

fn is_whole(raw: &[u8]) -> bool {
    payload(raw).1
}

/// The payload of chunks, and whether the last one was seen.
fn payload(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let (limits, mut decoder, mut body) = (Limits::default(), ChunkedDecoder::default(), Vec::new());
    loop {
        match decoder.step(raw, &limits) {
            Ok(Chunk::Data { skip, len }) => {
                body.extend_from_slice(raw.get(skip..skip + len).unwrap_or_default());
                raw = raw.get(skip + len..).unwrap_or_default();
            }
            Ok(Chunk::End { .. }) => return (body, true),
            Ok(Chunk::More { .. }) | Err(_) => return (body, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(active: &str) -> Settings {
        let checks = format!("{{\"active\": {active}}}");
        Settings::new(serde_json::from_str(&checks).unwrap(), None).unwrap()
    }

    /// What a check makes of a server that reads the request and then says `answer`, in two pieces.
    async fn outcome(active: &str, answer: &str) -> (String, String) {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let settings = settings(active);
        let serve = async {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                far.read_buf(&mut asked).await.unwrap();
            }
            let (first, second) = answer.split_at(answer.len() / 2);
            far.write_all(first.as_bytes()).await.unwrap();
            // The check may be content with what it has.
            let _ = far.write_all(second.as_bytes()).await;
            drop(far);
            String::from_utf8(asked).unwrap()
        };
        let (outcome, asked) = tokio::join!(check(near, &settings, "users.test:81"), serve);
        let shown = match outcome {
            Ok(Outcome::Success) => "success".to_owned(),
            Ok(Outcome::Neither) => "neither".to_owned(),
            Ok(Outcome::Failure(_, why)) => why,
            Err(error) => format!("broken: {}", error.kind()),
        };
        (shown, asked)
    }

    #[tokio::test]
    async fn answers() {
        let body = r#"{"match": {"body": "ok"}}"#;
        let rows = [
            ("{}", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "success"),
            ("{}", "HTTP/1.0 503 No\r\n\r\n", "status 503"),
            (
                "{}",
                "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                "success",
            ),
            ("{}", "HTTP/1.1 301 There\r\nLocation: /\r\n\r\n", "neither"),
            ("{}", "", "broken: unexpected end of file"),
            ("{}", "HTTP/1.1 20", "broken: unexpected end of file"),
            (
                "{}",
                "SSH-2.0-OpenSSH\r\n\r\n",
                "the answer is not HTTP: malformed or unsupported version",
            ),
            (
                body,
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnot ok",
                "the body is not as expected",
            ),
            (
                body,
                "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nis ok!",
                "success",
            ),
            (body, "HTTP/1.1 200 OK\r\n\r\nuntil the end ok", "success"),
            (
                body,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
                "success",
            ),
            (body, "HTTP/1.1 500 OK\r\nContent-Length: 2\r\n\r\nok", "success"),
            (
                r#"{"match": {"status": ["200"], "body": "ok"}}"#,
                "HTTP/1.1 500 OK\r\nContent-Length: 2\r\n\r\nok",
                "status 500",
            ),
        ];
        for (active, answer, expected) in rows {
            assert_eq!(outcome(active, answer).await.0, expected, "{active} {answer:?}");
        }
    }

    #[tokio::test]
    async fn the_request_is_as_it_is_asked_for() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n";
        let plain = outcome("{}", answer).await.1;
        assert_eq!(
            plain,
            "GET / HTTP/1.1\r\nHost: users.test:81\r\nUser-Agent: hythe-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let active = r#"{"http_path": "/h?a", "headers": {"host": ["other"], "X-A": ["1", "2"]}}"#;
        let dressed = outcome(active, answer).await.1;
        assert!(
            dressed.starts_with("GET /h?a HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\nhost: other\r\nUser-Agent"),
            "{dressed}"
        );
    }

    #[tokio::test]
    async fn a_body_without_end_is_read_to_the_bound() {
        let (near, mut far) = tokio::io::duplex(4 << 10);
        let flood = async {
            let _ = far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let mut sent = 0_usize;
            while far.write_all(&[b'x'; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        };
        let settings = settings(r#"{"match": {"body": "ok"}}"#);
        let (outcome, sent) = tokio::join!(check(near, &settings, "a"), flood);
        assert!(matches!(outcome, Ok(Outcome::Failure(Failure::Http, _))));
        assert!(sent < MOST_BODY + (32 << 10), "{sent}");
    }
}
