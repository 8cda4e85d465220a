//! Chunked bodies: one meaning however they are split, and the same again when they are framed anew.

use hythe_http1::{CRLF, Chunk, ChunkError, ChunkedDecoder, Limits, push_chunk_head, push_field};

use crate::TIGHT;

/// A body as far as it came.
#[derive(Debug, Default, PartialEq)]
struct Body {
    payload: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes that follow it, once it is over.
    rest: Option<usize>,
    error: Option<ChunkError>,
}

pub(crate) fn check(bytes: &[u8]) {
    for limits in [Limits::default(), TIGHT] {
        let whole = read(bytes, bytes.len().max(1), &limits);
        for step in [1, 2, 3, 7] {
            assert_eq!(read(bytes, step, &limits), whole, "in steps of {step}");
        }
        if whole.rest.is_some() {
            let written = write(&whole);
            let again = read(&written, written.len(), &Limits::default());
            assert_eq!(
                (again.rest, again.error),
                (Some(0), None),
                "{}",
                written.escape_ascii()
            );
            assert_eq!((again.payload, again.trailers), (whole.payload, whole.trailers));
        }
    }
}

fn read(bytes: &[u8], step: usize, limits: &Limits) -> Body {
    let mut decoder = ChunkedDecoder::default();
    let mut body = Body::default();
    let (mut start, mut end) = (0, 0);
    loop {
        let held = bytes.get(start..end).unwrap_or_default();
        match decoder.step(held, limits) {
            Ok(Chunk::Data { skip, len }) => {
                assert!(len > 0, "data without data");
                body.payload
                    .extend(held.get(skip..skip + len).expect("data within what was given"));
                start += skip + len;
            }
            Ok(Chunk::More { consumed }) => {
                assert_eq!(consumed, held.len(), "bytes neither dropped nor taken");
                start += consumed;
                if end == bytes.len() {
                    return body;
                }
                end = bytes.len().min(end + step);
            }
            Ok(Chunk::End { consumed }) => {
                let own = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
                body.trailers = decoder.trailers().map(own).collect();
                body.rest = Some(bytes.len() - start - consumed);
                return body;
            }
            Err(error) => {
                body.error = Some(error);
                return body;
            }
        }
    }
}

fn write(body: &Body) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.payload.chunks(5) {
        push_chunk_head(&mut out, chunk.len() as u64);
        out.extend_from_slice(chunk);
        out.extend_from_slice(CRLF);
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in &body.trailers {
        push_field(&mut out, name, value);
    }
    out.extend_from_slice(CRLF);
    out
}
