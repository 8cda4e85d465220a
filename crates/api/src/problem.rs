//! Errors as problem details (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hythe_ports::documents::{CommitError, ReadError};

use crate::wire::Problem;

/// What a handler says instead of an answer. Boxed, because it is the rare case.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>);

pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("urn:hythe:problem:{code}"),
            title: title(status).to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            hint: None,
            errors: Vec::new(),
        }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }

    pub(crate) fn errors(mut self, errors: Vec<String>) -> Self {
        self.0.errors = errors;
        self
    }

    pub(crate) fn internal(code: &str, error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, chain(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = %self.0.code, detail = %self.0.detail, "a request to the API failed");
        }
        let mut response = (status, Json(self.0)).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        let (status, code) = match &error {
            CommitError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            CommitError::NotUnique { .. } => (StatusCode::CONFLICT, "not_unique"),
            CommitError::StillReferenced { .. } => (StatusCode::CONFLICT, "still_referenced"),
            CommitError::ReferenceMissing { .. } | CommitError::Repeated { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
            }
            CommitError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            CommitError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "store_full"),
            CommitError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "store_closed"),
            CommitError::Corrupt(_) | CommitError::Io(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store_failed")
            }
        };
        Self::new(status, code, chain(&error))
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_closed", chain(&error)),
            ReadError::Corrupt(_) | ReadError::Io(_) => Self::internal("store_failed", &error),
        }
    }
}

/// Answers for paths and methods that do not exist.
pub(crate) async fn not_found(uri: axum::http::Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no_such_path",
        format!("there is nothing at {}", uri.path()),
    )
    .hint("GET /openapi.json lists everything")
}

pub(crate) async fn method_not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this method means nothing here",
    )
    .hint("GET /openapi.json lists everything")
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
