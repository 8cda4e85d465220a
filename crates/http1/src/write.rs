//! Writing heads and chunks: everything appends to a buffer that is written to the socket in one go.

/// The end of a line, and of a chunk's payload.
pub const CRLF: &[u8] = b"\r\n";

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends `name: value` and CRLF. Both must be free of control bytes, as parsed ones are: they are not checked.
#[inline]
pub fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// Appends `value` in decimal.
#[inline]
pub fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends the size line of a chunk of `len` bytes; the payload and [`CRLF`] must follow. A `len` of 0 would end
/// the body: use [`LAST_CHUNK`] for that.
#[inline]
pub fn push_chunk_head(out: &mut Vec<u8>, len: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut line = [0; 18];
    let mut start = 16;
    line[start..].copy_from_slice(CRLF);
    let mut rest = len;
    loop {
        start -= 1;
        line[start] = DIGITS[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&line[start..]);
}

/// Appends the status line of a response in HTTP/1.1. `reason` may be empty and must be free of control bytes.
#[inline]
pub fn push_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if status == 200 && reason == b"OK" {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(CRLF);
}

/// The usual reason phrase of a status; `Unknown` if there is none.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b">".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writers_append() {
        assert_eq!(written(|out| push_field(out, b"A", b"b c")), ">A: b c\r\n");
        assert_eq!(written(|out| push_decimal(out, 0)), ">0");
        assert_eq!(
            written(|out| push_decimal(out, u64::MAX)),
            ">18446744073709551615"
        );
        assert_eq!(written(|out| push_chunk_head(out, 1)), ">1\r\n");
        assert_eq!(written(|out| push_chunk_head(out, 0x1_0a)), ">10a\r\n");
        assert_eq!(
            written(|out| push_chunk_head(out, u64::MAX)),
            ">ffffffffffffffff\r\n"
        );
        assert_eq!(
            written(|out| push_status_line(out, 200, b"OK")),
            ">HTTP/1.1 200 OK\r\n"
        );
        assert_eq!(
            written(|out| push_status_line(out, 299, b"")),
            ">HTTP/1.1 299 \r\n"
        );
    }
}
