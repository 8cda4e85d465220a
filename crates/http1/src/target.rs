//! The request target: where its path, query and authority lie.

use crate::class::{TARGET, class, escaped};
use crate::host::is_host;
use crate::{RefusalKind, Span};

/// A target taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) path: Span,
    pub(crate) query: Option<Span>,
    /// Of an absolute target only.
    pub(crate) authority: Option<Authority>,
}

/// The authority of an absolute target, a valid host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority {
    pub(crate) host: Span,
    pub(crate) default_port: &'static [u8],
}

/// Takes apart the target at `span`, for a request that is `OPTIONS` or not.
#[inline]
pub(crate) fn split(buf: &[u8], span: Span, is_options: bool) -> Result<Target, RefusalKind> {
    let target = span.of(buf);
    let (start, end) = (span.start as usize, span.end as usize);
    let marks = scan(target)?;
    let query = marks.question.map(|at| Span::new(start + at + 1, end));
    let before_query = start + marks.question.unwrap_or(target.len());
    let (path_start, authority) = match target {
        [b'/', ..] => (start, None),
        b"*" if is_options => (start, None),
        b"*" => return Err(RefusalKind::AsteriskTarget),
        _ => absolute(buf, start, before_query)?,
    };
    let path = if path_start == before_query {
        root_of(start, target)
    } else {
        Span::new(path_start, before_query)
    };
    if marks.escapes {
        check_escapes(path.of(buf))?;
    }
    Ok(Target {
        path,
        query,
        authority,
    })
}

struct Marks {
    question: Option<usize>,
    /// Whether a `%` stands before the question mark.
    escapes: bool,
}

#[inline]
fn scan(target: &[u8]) -> Result<Marks, RefusalKind> {
    let mut marks = Marks {
        question: None,
        escapes: false,
    };
    for (at, &byte) in target.iter().enumerate() {
        match byte {
            b'?' if marks.question.is_none() => marks.question = Some(at),
            b'%' if marks.question.is_none() => marks.escapes = true,
            _ if class(byte) & TARGET != 0 => {}
            b'#' => return Err(RefusalKind::FragmentInTarget),
            b' ' => return Err(RefusalKind::SpaceInTarget),
            _ => return Err(RefusalKind::BadTargetByte),
        }
    }
    Ok(marks)
}

/// The start of the path (`end` if there is none) and the authority of an absolute target without its query.
fn absolute(buf: &[u8], start: usize, end: usize) -> Result<(usize, Option<Authority>), RefusalKind> {
    let uri = &buf[start..end];
    let schemes: [(&[u8], &'static [u8]); 2] = [(b"http://", b"80"), (b"https://", b"443")];
    let (scheme, default_port) = schemes
        .into_iter()
        .find(|(scheme, _)| {
            uri.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .ok_or(RefusalKind::BadTarget)?;
    let rest = &uri[scheme.len()..];
    let length = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
    if !is_host(&rest[..length]) {
        return Err(RefusalKind::BadAuthority);
    }
    let host_start = start + scheme.len();
    let host = Span::new(host_start, host_start + length);
    Ok((host_start + length, Some(Authority { host, default_port })))
}

/// The path `/` of an absolute target that has none, found where there surely is a slash: in its `://`.
fn root_of(start: usize, target: &[u8]) -> Span {
    let slash = start + target.iter().position(|&byte| byte == b'/').unwrap_or(0);
    Span::new(slash, slash + 1)
}

#[cold]
fn check_escapes(path: &[u8]) -> Result<(), RefusalKind> {
    for (at, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'%') {
        match escaped(&path[at..]) {
            None => return Err(RefusalKind::BadEscape),
            Some(0) => return Err(RefusalKind::EncodedNul),
            Some(_) => {}
        }
    }
    Ok(())
}
