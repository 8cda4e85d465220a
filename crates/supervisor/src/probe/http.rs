//! The GET of a health check: one request, one status line, nothing else is read.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A status line that is longer is no status line.
const LONGEST_STATUS_LINE: usize = 1024;

/// Whether GET of `path` answers 200 to 399.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(), String> {
    let status = status_of(address, path)
        .await
        .map_err(|error| format!("GET {path}: {error}"))?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("GET {path} answered {status}"))
    }
}

async fn status_of(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = format!(
        "GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: hythe-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(LONGEST_STATUS_LINE);
    while !head.contains(&b'\n') && head.len() < LONGEST_STATUS_LINE {
        let mut rest = (&mut stream).take((LONGEST_STATUS_LINE - head.len()) as u64);
        if rest.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    parse_status(&head).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// The status in `HTTP/1.1 204 No Content`.
fn parse_status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let [minor, b' ', rest @ ..] = line.strip_prefix(b"HTTP/1.")? else {
        return None;
    };
    let code = rest.split(u8::is_ascii_whitespace).next()?;
    if !minor.is_ascii_digit() || code.len() != 3 {
        return None;
    }
    std::str::from_utf8(code)
        .ok()?
        .parse()
        .ok()
        .filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let rows: [(&str, Option<u16>); 10] = [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503 Busy\r\nX: y", Some(503)),
            ("HTTP/1.1 204\r\n", Some(204)),
            ("HTTP/1.1 204", Some(204)),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 99", None),
            ("HTTP/2 200", None),
            ("HTTP/1.", None),
            ("SSH-2.0-x\r\n", None),
            ("", None),
        ];
        for (head, expected) in rows {
            assert_eq!(parse_status(head.as_bytes()), expected, "{head}");
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_in_pieces_is_understood() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for answer in [
                "HTTP/1.1 399 Fine\r\n\r\n",
                "HTTP/1.1 400 No\r\n\r\n",
                "hello\n",
                "",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
                for byte in answer.as_bytes() {
                    stream.write_all(&[*byte]).await.unwrap();
                }
            }
        });
        assert_eq!(get(address, "/health").await, Ok(()));
        assert_eq!(
            get(address, "/health").await,
            Err("GET /health answered 400".to_owned())
        );
        for _ in 0..2 {
            let refused = get(address, "/health").await.unwrap_err();
            assert_eq!(refused, "GET /health: the answer is not HTTP");
        }
        server.await.unwrap();
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(head: Vec<u8>) {
            let status = parse_status(&head);
            proptest::prop_assert!(status.is_none_or(|status| (100..600).contains(&status)));
        }
    }
}
