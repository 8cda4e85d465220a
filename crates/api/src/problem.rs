//! Errors as problem details (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hythe_ports::documents::{CommitError, ReadError};

use crate::code::Code;
use crate::wire::Problem;

/// What a handler says instead of an answer. Boxed, because it is the rare case.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>);

pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem {
            kind: format!("urn:hythe:problem:{}", code.name),
            title: code.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: code.status.as_u16(),
            detail: detail.into(),
            code: code.name.to_owned(),
            hint: None,
            errors: Vec::new(),
        }))
    }

    /// With an error and what caused it as the detail.
    pub(crate) fn failed(code: Code, error: &dyn std::error::Error) -> Self {
        Self::new(code, hythe_stdx::chain(error))
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
        let code = match &error {
            CommitError::Conflict { .. } => Code::Conflict,
            CommitError::NotUnique { .. } => Code::NotUnique,
            CommitError::StillReferenced { .. } => Code::StillReferenced,
            CommitError::ReferenceMissing { .. } | CommitError::Repeated { .. } => Code::Invalid,
            CommitError::TooLarge { .. } => Code::TooLarge,
            CommitError::Full(_) => Code::StoreFull,
            CommitError::Closed => Code::StoreClosed,
            CommitError::Corrupt(_) | CommitError::Io(_) => Code::StoreFailed,
        };
        Self::failed(code, &error)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::Closed => Code::StoreClosed,
            ReadError::Corrupt(_) | ReadError::Io(_) => Code::StoreFailed,
        };
        Self::failed(code, &error)
    }
}

/// Answers for paths and methods that do not exist.
pub(crate) async fn not_found(uri: axum::http::Uri) -> Refusal {
    Refusal::new(Code::NoSuchPath, format!("there is nothing at {}", uri.path()))
        .hint("GET /openapi.json lists everything")
}

pub(crate) async fn method_not_allowed() -> Refusal {
    Refusal::new(Code::MethodNotAllowed, "this method means nothing here")
        .hint("GET /openapi.json lists everything")
}
