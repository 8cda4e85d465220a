//! Headers of the PROXY protocol: one verdict however they come, and what is read is read again when it is written.

use hythe_upstream::proxy_protocol::{Header, LONGEST, Source, Version, parse, write};

pub(crate) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(LONGEST) {
        let early = parse(bytes.get(..end).unwrap_or_default());
        assert!(
            early == Ok(Header::Partial) || early == whole,
            "{early:?} after {end} bytes, then {whole:?}"
        );
    }
    match whole {
        Ok(Header::Partial) => assert!(bytes.len() < LONGEST, "a header without end"),
        Ok(Header::Complete { source, length }) => {
            assert!(length <= bytes.len().min(LONGEST), "more than came");
            is_passed_on(source);
        }
        Err(_) => {}
    }
}

/// What is told to an upstream is what was heard.
fn is_passed_on(source: Source) {
    let Source::Proxied { client, destination } = source else {
        return;
    };
    for version in [Version::One, Version::Two] {
        let mut sent = Vec::new();
        write(version, client, destination, &mut sent);
        let expected = Header::Complete {
            source,
            length: sent.len(),
        };
        assert_eq!(parse(&sent), Ok(expected), "{}", sent.escape_ascii());
    }
}
