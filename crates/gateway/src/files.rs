//! Files of a folder, served as if an upstream on a connection of HTTP/1.1 had sent them: so their answers take
//! the same way as all others, through plugins, filters, deadlines, counters and the log.
//!
//! The library knows ranges, `If-Modified-Since`, files that are compressed already (`app.js.br`, `.zst`, `.gz`),
//! `index.html` and types; it goes nowhere above the folder, and reads pieces through `page_cache`. Symbolic links are
//! followed, as nginx does. What is here: an `ETag` in nginx's form (time and size: what browsers hold is valid when a
//! site moves) and the questions about it, and a file in place of one that is not there. Several ranges at once are
//! answered with the whole file.

mod page_cache;

use std::cell::RefCell;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE, VARY,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use hythe_http1::{Limits, RequestHead, reason_phrase};
use hythe_upstream::{Buffer, WireError};
use tokio::time::Instant;
use tower_http::services::fs::{DefaultServeDirFallback, ServeDir, ServeFileSystemResponseBody};

use self::page_cache::PageCache;

/// A folder whose files are served.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    folder: ServeDir<DefaultServeDirFallback, PageCache>,
    /// Served in place of what is not there, with status 200.
    fallback: Option<String>,
}

type Body = Either<ServeFileSystemResponseBody, Full<Bytes>>;

/// Size of a piece, in bytes. To free a larger one makes glibc tidy its heap, each time.
const PIECE: usize = 32 * 1024;

impl Files {
    /// The files of `root`. `fallback`: the path of one of them, for what is not there.
    pub(crate) fn of(root: &Path, fallback: Option<String>) -> Self {
        let folder = ServeDir::with_backend(root, PageCache::of(root))
            .precompressed_br()
            .precompressed_zstd()
            .precompressed_gzip()
            .with_buf_chunk_size(PIECE);
        Self { folder, fallback }
    }

    async fn answer(&self, request: Request<()>) -> std::io::Result<Response<Body>> {
        let answer = self.find(&request, request.uri().path()).await?;
        if answer.status() != StatusCode::NOT_FOUND {
            return Ok(answer);
        }
        match &self.fallback {
            Some(path) => self.find(&request, path).await,
            None => Ok(answer),
        }
    }

    /// One file, with the questions about its tag answered.
    async fn find(&self, request: &Request<()>, path: &str) -> std::io::Result<Response<Body>> {
        let asked = request.headers();
        let mut headers = asked.clone();
        // RFC 9110 13.2.2: of two questions the one about the tag is the only one.
        for (tag, time) in [
            (IF_MATCH, IF_UNMODIFIED_SINCE),
            (IF_NONE_MATCH, IF_MODIFIED_SINCE),
        ] {
            if headers.remove(tag).is_some() {
                headers.remove(time);
            }
        }
        if !asked.get(RANGE).is_some_and(is_one_range) {
            headers.remove(RANGE);
        }
        let answer = self.range(request, path, headers).await?;
        Ok(
            match answer.headers().get(ETAG).and_then(|tag| refused(asked, tag)) {
                Some(status) => emptied(answer, status),
                None => answer,
            },
        )
    }

    /// The part that is asked for, or the whole if it is not the same file any more.
    async fn range(
        &self,
        request: &Request<()>,
        path: &str,
        mut headers: HeaderMap,
    ) -> std::io::Result<Response<Body>> {
        let Some(range) = headers.get(RANGE).cloned() else {
            return self.read(request.method(), path, headers).await;
        };
        if let Some(validator) = request.headers().get(IF_RANGE) {
            headers.remove(RANGE);
            let whole = self.read(request.method(), path, headers.clone()).await?;
            let same = [ETAG, LAST_MODIFIED]
                .iter()
                .any(|name| whole.headers().get(name) == Some(validator));
            if !same {
                return Ok(whole);
            }
            headers.insert(RANGE, range.clone());
        }
        let answer = self.read(request.method(), path, headers.clone()).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE && is_of_the_end(&range) {
            // RFC 9110 14.1.2: of a file that is shorter, all of it.
            headers.remove(RANGE);
            return self.read(request.method(), path, headers).await;
        }
        Ok(answer)
    }

    async fn read(&self, method: &Method, path: &str, headers: HeaderMap) -> std::io::Result<Response<Body>> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(std::io::Error::other)?;
        *request.headers_mut() = headers;
        let mut answer = match self.folder.clone().try_call(request).await {
            Err(error) if is_absent(&error) => not_found(),
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => not_found(),
            answer => answer?.map(Either::Left),
        };
        let headers = answer.headers_mut();
        if let Some(library) = headers.remove(ETAG) {
            headers.extend(tag(&library).map(|tag| (ETAG, tag)));
        }
        if headers.contains_key(ALLOW) {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if answer.status() == StatusCode::NOT_MODIFIED {
            let headers = answer.headers_mut();
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        Ok(answer)
    }
}

/// Whether this says that there is nothing of that name to serve.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename
    )
}

fn not_found() -> Response<Body> {
    const TEXT: &[u8] = b"Not found\n";
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from_static(TEXT))));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer.headers_mut().insert(CONTENT_LENGTH, TEXT.len().into());
    answer
}

/// nginx's tag, the time of the last change and the size in hex, out of the library's, which has parts of a second
/// too (`"seconds.nanoseconds-size"`).
fn tag(library: &HeaderValue) -> Option<HeaderValue> {
    let (seconds, rest) = library.to_str().ok()?.split_once('.')?;
    let (_, size) = rest.split_once('-')?;
    HeaderValue::from_str(&format!("{seconds}-{size}")).ok()
}

/// Whether a `Range` asks for one range of bytes. Several are not served, and other units are to be ignored (RFC 9110
/// 14.2).
fn is_one_range(range: &HeaderValue) -> bool {
    let range = range.as_bytes();
    range.starts_with(b"bytes=") && !range.contains(&b',')
}

/// Whether a range is of so many bytes at the end, not none.
fn is_of_the_end(range: &HeaderValue) -> bool {
    let count = range.as_bytes().strip_prefix(b"bytes=-");
    count.is_some_and(|count| count.iter().any(|digit| matches!(digit, b'1'..=b'9')))
}

/// The answer without its file.
fn emptied(mut answer: Response<Body>, status: StatusCode) -> Response<Body> {
    *answer.status_mut() = status;
    *answer.body_mut() = Either::Right(Full::default());
    let of_the_file = [CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, CONTENT_ENCODING];
    for name in of_the_file {
        answer.headers_mut().remove(name);
    }
    answer
}

/// What is answered instead of a file with this tag, as the request asks (RFC 9110 13.1).
fn refused(asked: &HeaderMap, tag: &HeaderValue) -> Option<StatusCode> {
    let names = |name| {
        let lists = asked.get_all(name).iter().map(HeaderValue::as_bytes);
        lists.flat_map(|list| list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
    };
    let same = |known: &[u8]| known == b"*" || known == tag.as_bytes();
    if asked.contains_key(IF_MATCH) && !names(IF_MATCH).any(same) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let mut known = names(IF_NONE_MATCH).map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
    known.any(same).then_some(StatusCode::NOT_MODIFIED)
}

/// A folder, as the other side of one exchange.
pub(crate) struct FileLink {
    files: Arc<Files>,
    /// The head of the request, as far as it was written.
    asked: RefCell<Vec<u8>>,
    answer: Option<Body>,
    deadline: Instant,
}

/// The reading direction of a [`FileLink`].
pub(crate) struct FileReader<'a> {
    files: &'a Files,
    asked: &'a RefCell<Vec<u8>>,
    answer: &'a mut Option<Body>,
    deadline: &'a mut Instant,
}

/// The writing direction of a [`FileLink`].
pub(crate) struct FileWriter<'a> {
    asked: &'a RefCell<Vec<u8>>,
}

impl FileLink {
    pub(crate) fn to(files: Arc<Files>) -> Self {
        Self {
            files,
            asked: RefCell::default(),
            answer: None,
            deadline: Instant::now(),
        }
    }

    pub(crate) fn split(&mut self) -> (FileReader<'_>, FileWriter<'_>) {
        let reader = FileReader {
            files: &self.files,
            asked: &self.asked,
            answer: &mut self.answer,
            deadline: &mut self.deadline,
        };
        let asked = &self.asked;
        (reader, FileWriter { asked })
    }
}

impl FileWriter<'_> {
    /// The first bytes are the head, whole; a body is nothing that files want.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) {
        let mut asked = self.asked.borrow_mut();
        if asked.is_empty() {
            asked.extend_from_slice(bytes);
        }
    }
}

impl FileReader<'_> {
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        *self.deadline = deadline;
    }

    /// The head first, then the body piece by piece.
    pub(crate) async fn read(&mut self, buffer: &mut Buffer) -> Result<usize, WireError> {
        let deadline = *self.deadline;
        let reading = tokio::time::timeout_at(deadline, self.read_on(buffer));
        reading.await.unwrap_or(Err(WireError::TimedOut))
    }

    async fn read_on(&mut self, buffer: &mut Buffer) -> Result<usize, WireError> {
        let Some(body) = self.answer else {
            // In a box: every exchange would have room for this otherwise.
            let finding = Box::pin(self.files.answer(self.request()?));
            let answer = finding.await.map_err(WireError::Broken)?;
            let head = head(&answer);
            *self.answer = Some(answer.into_body());
            buffer.extend(&head);
            return Ok(head.len());
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| WireError::Broken(std::io::Error::other(error)))?;
            let data = frame.into_data().unwrap_or_default();
            if !data.is_empty() {
                buffer.extend(&data);
                return Ok(data.len());
            }
        }
        Ok(0)
    }

    fn request(&self) -> Result<Request<()>, WireError> {
        let refused = || WireError::Broken(std::io::Error::other("not a request for a file"));
        let bytes = self.asked.borrow();
        let mut head = RequestHead::default();
        let limits = Limits {
            line: usize::MAX,
            head: usize::MAX,
            fields: usize::MAX,
            ..Limits::default()
        };
        head.parse(&bytes, &limits).map_err(|_| refused())?;
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(head.method.of(&bytes)).map_err(|_| refused())?;
        *request.uri_mut() = Uri::try_from(head.path.of(&bytes)).map_err(|_| refused())?;
        for field in &head.fields {
            let name = HeaderName::from_bytes(field.name.of(&bytes)).map_err(|_| refused())?;
            let value = HeaderValue::from_bytes(field.value.of(&bytes)).map_err(|_| refused())?;
            request.headers_mut().append(name, value);
        }
        Ok(request)
    }
}

/// An answer's head as HTTP/1.1.
fn head(answer: &Response<Body>) -> Vec<u8> {
    let status = answer.status().as_u16();
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = write!(line, "HTTP/1.1 {status} {}\r\n", reason_phrase(status));
    let mut out = line.into_bytes();
    for (name, value) in answer.headers() {
        hythe_http1::push_field(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    if !answer.headers().contains_key(CONTENT_LENGTH) && !matches!(status, 204 | 304) {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
