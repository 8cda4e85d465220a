//! gRPC's own check: `grpc.health.v1.Health/Check` of the whole server must answer `SERVING`.
//!
//! The two messages are so small that they are written and read here: the request names no service and is
//! empty, of the answer only field 1 matters.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::health::verdict::{Failure, Outcome};

/// Longer than any answer is: a frame's head and one field.
const MOST_ANSWER: usize = 1 << 10;
/// More than any server's headers and trailers take.
const MOST_HEADERS: u32 = 16 << 10;
/// A message's head: not compressed, no bytes.
const EMPTY_MESSAGE: &[u8] = &[0; 5];
/// Field 1 as a varint.
const STATUS_FIELD: u8 = 0x08;

/// Asks over `stream`.
///
/// # Errors
/// When the connection breaks, or is no HTTP/2.
pub(super) async fn check<S>(stream: S, host: &str) -> io::Result<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = h2::client::Builder::new()
        .max_header_list_size(MOST_HEADERS)
        .handshake(stream);
    let (sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::select! {
        outcome = ask(sender, host) => outcome.map_err(io::Error::other),
        ended = connection => Err(match ended {
            Ok(()) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => io::Error::other(error),
        }),
    }
}

async fn ask(sender: SendRequest<Bytes>, host: &str) -> Result<Outcome, h2::Error> {
    let failure = |why: String| Outcome::Failure(Failure::Http, why);
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(());
    let Ok(request) = request else {
        return Ok(failure(format!("`{host}` is no host")));
    };
    let (answer, mut body) = sender.ready().await?.send_request(request, false)?;
    body.send_data(Bytes::from_static(EMPTY_MESSAGE), true)?;
    let answer = answer.await?;
    if answer.status() != 200 {
        return Ok(failure(format!("status {}", answer.status().as_u16())));
    }
    if let Some(why) = grpc_failure(answer.headers()) {
        return Ok(failure(why));
    }
    judge(answer).await
}

async fn judge(answer: Response<h2::RecvStream>) -> Result<Outcome, h2::Error> {
    let mut body = answer.into_body();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if message.len() + data.len() > MOST_ANSWER {
            let why = "the answer is too long".to_owned();
            return Ok(Outcome::Failure(Failure::Http, why));
        }
        message.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(match (grpc_failure(&trailers), serving_status(&message)) {
        (Some(why), _) => Outcome::Failure(Failure::Http, why),
        (None, Some(1)) => Outcome::Success,
        (None, Some(2)) => Outcome::Failure(Failure::Http, "NOT_SERVING".to_owned()),
        (None, _) => Outcome::Failure(Failure::Http, "no status in the answer".to_owned()),
    })
}

/// What `grpc-status` says unless it is 0 or not there.
fn grpc_failure(headers: &HeaderMap) -> Option<String> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or("?");
    (status != "0").then(|| format!("grpc-status {status}"))
}

/// Field 1 of the message, 0 where it is left out; `None` if it is no such message.
fn serving_status(framed: &[u8]) -> Option<u8> {
    let (head, message) = framed.split_at_checked(EMPTY_MESSAGE.len())?;
    if head[0] != 0 {
        return None;
    }
    match message {
        [] => Some(0),
        [STATUS_FIELD, status, ..] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one call with these bytes and this `grpc-status`.
    async fn outcome(status: u16, message: &'static [u8], grpc_status: &'static str) -> Outcome {
        let (near, far) = tokio::io::duplex(16 << 10);
        let serve = async {
            let mut connection = h2::server::handshake(far).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.uri().host(), Some("users.test"));
            let head = Response::builder().status(status).body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(message), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", grpc_status.parse().unwrap());
            body.send_trailers(trailers).unwrap();
            while connection.accept().await.is_some() {}
        };
        tokio::select! {
            outcome = check(near, "users.test") => outcome.unwrap(),
            () = serve => panic!("the check went before it knew"),
        }
    }

    #[tokio::test]
    async fn answers() {
        let serving: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
        let rows: [(u16, &[u8], &str, &str); 6] = [
            (200, serving, "0", "success"),
            (200, &[0, 0, 0, 0, 2, 8, 2], "0", "NOT_SERVING"),
            (200, &[0, 0, 0, 0, 0], "0", "no status in the answer"),
            (200, &[1, 2], "0", "no status in the answer"),
            (200, &[], "12", "grpc-status 12"),
            (404, &[], "0", "status 404"),
        ];
        for (status, message, grpc_status, expected) in rows {
            let shown = match outcome(status, message, grpc_status).await {
                Outcome::Success => "success".to_owned(),
                Outcome::Failure(Failure::Http, why) => why,
                other => format!("{other:?}"),
            };
            assert_eq!(shown, expected);
        }
    }

    #[tokio::test]
    async fn who_speaks_no_http2_fails() {
        let (near, mut far) = tokio::io::duplex(16 << 10);
        let serve = async {
            use tokio::io::AsyncWriteExt;
            far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = check(near, "users.test") => assert!(outcome.is_err()),
            () = serve => {}
        }
    }
}
