//! Chunked bodies of `testdata/chunks`.

use super::cases::{self, text};
use super::requests::rest;
use crate::{Chunk, ChunkError, ChunkedDecoder, HeadFault, Limits};

#[test]
fn whole() {
    cases::check(&cases::read("chunks"), |case| {
        let mut decoder = ChunkedDecoder::default();
        decode(&mut decoder, &case.bytes, case.bytes.len(), &case.limits)
    });
}

#[test]
fn split_anyhow() {
    for piece in 1..9 {
        cases::check(&cases::read("chunks"), |case| {
            decode(&mut ChunkedDecoder::default(), &case.bytes, piece, &case.limits)
        });
    }
}

#[test]
fn with_a_decoder_used_before() {
    let cases = cases::read("chunks");
    for before in &cases {
        cases::check(&cases, |case| {
            let mut decoder = ChunkedDecoder::default();
            decode(&mut decoder, &before.bytes, 3, &before.limits);
            decoder.reset();
            decode(&mut decoder, &case.bytes, 3, &case.limits)
        });
    }
}

#[test]
fn every_rule_has_a_case() {
    let rules = [
        ChunkError::BadSize,
        ChunkError::SizeOverflow,
        ChunkError::BadLine,
        ChunkError::LineTooLong,
        ChunkError::BadDataEnd,
        ChunkError::TrailersTooLarge,
        ChunkError::BadTrailer(HeadFault::BareCr),
        ChunkError::BadTrailer(HeadFault::BareLf),
        ChunkError::BadTrailer(HeadFault::ControlByte),
        ChunkError::BadTrailer(HeadFault::NoColon),
        ChunkError::BadTrailer(HeadFault::FoldedLine),
    ];
    let rules = rules.iter().map(|error| format!("error {error:?}"));
    cases::check_covered(&cases::read("chunks"), rules);
}

/// Decodes `bytes`, which come in pieces of at most `piece`, as a connection would: what was not consumed stays.
pub(super) fn decode(
    decoder: &mut ChunkedDecoder,
    bytes: &[u8],
    piece: usize,
    limits: &Limits,
) -> Vec<String> {
    let (mut payload, mut start, mut end) = (Vec::new(), 0, 0);
    let last = loop {
        match decoder.step(&bytes[start..end], limits) {
            Ok(Chunk::Data { skip, len }) => {
                assert!(len > 0, "data without data");
                payload.extend_from_slice(&bytes[start + skip..start + skip + len]);
                start += skip + len;
            }
            Ok(Chunk::More { consumed }) => {
                start += consumed;
                assert_eq!(start, end, "bytes neither dropped nor taken");
                if end == bytes.len() {
                    break "more".to_owned();
                }
                end = bytes.len().min(end + piece);
            }
            Ok(Chunk::End { consumed }) => {
                start += consumed;
                break "end".to_owned();
            }
            Err(error) => break format!("error {error:?}"),
        }
    };
    let mut lines = vec![format!("data {}", text(&payload))];
    if decoder.is_done() {
        let trailers = decoder.trailers();
        lines.extend(trailers.map(|(name, value)| format!("{}: {}", text(name), text(value))));
        lines.extend(rest(bytes.len() - start));
    }
    lines.push(last);
    lines
}
