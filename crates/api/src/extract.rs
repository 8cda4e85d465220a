//! Bodies and queries, refused in the API's own form.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Api;
use crate::code::Code;
use crate::problem::Refusal;

/// A JSON body; an empty one reads as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

/// The query.
pub(crate) struct Params<T>(pub(crate) T);

/// By which door a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The Unix socket.
    Socket,
    /// TCP, from this address if it is known.
    Tcp(Option<SocketAddr>),
}

impl Door {
    /// The owner of fields that are set by hand.
    pub(crate) fn owner(self) -> &'static str {
        match self {
            Self::Socket => "cli",
            Self::Tcp(_) => "api",
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = Refusal;
    async fn from_request(request: Request, state: &Arc<Api>) -> Result<Self, Refusal> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let code = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
                    _ => Code::InvalidBody,
                };
                Refusal::new(code, rejection.body_text())
            })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| Refusal::new(Code::InvalidBody, format!("the body cannot be read: {error}")))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|rejection| Refusal::new(Code::InvalidQuery, rejection.body_text()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Door {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::Tcp(None)))
    }
}
