//! The gateway's routes, and what would happen to a request.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use hythe_model::view::{Explanation, RouteView};
use hythe_ports::ExplainRequest;

use crate::code::Code;
use crate::extract::Params;
use crate::problem::{Answer, Refusal};
use crate::service::ScopeParams;
use crate::wire::Problem;

/// Every route, in the order in which they are tried.
#[utoipa::path(
    get, path = "/v1/routes", operation_id = "list_routes", tag = "gateway",
    params(ScopeParams),
    responses((status = 200, body = Vec<RouteView>), (status = "default", response = Problem)),
)]
pub(crate) async fn list(
    State(api): crate::State,
    Params(scope): Params<ScopeParams>,
) -> Json<Vec<RouteView>> {
    Json(api.inputs.routes.routes(scope.project.as_ref()))
}

/// What would happen to a request, without sending it.
#[utoipa::path(
    get, path = "/v1/explain", tag = "gateway",
    params(
        ("method" = Option<String>, Query, description = "Method; GET if not given."),
        ("url" = String, Query, description = "`http://host/path?query`, or only a path."),
        ("listener" = Option<String>, Query, description = "The listener it comes in on; any if not given."),
        ("header" = Option<Vec<String>>, Query, description = "`name: value`; may be repeated."),
    ),
    responses((status = 200, body = Explanation), (status = "default", response = Problem)),
)]
pub(crate) async fn explain(
    State(api): crate::State,
    Params(query): Params<Vec<(String, String)>>,
) -> Answer<Json<Explanation>> {
    let request = read(&query).map_err(|detail| Refusal::new(Code::InvalidQuery, detail))?;
    Ok(Json(api.inputs.routes.explain(&request).await))
}

fn read(query: &[(String, String)]) -> Result<ExplainRequest, String> {
    let one = |key: &str| {
        query
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    let url = one("url").ok_or("`url` is missing")?;
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let mut host = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str())
        .to_owned();
    let mut headers = Vec::new();
    for (_, header) in query.iter().filter(|(name, _)| name == "header") {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| format!("`{header}` is not like `name: value`"))?;
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("host") {
            host = value.to_owned();
        } else {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(ExplainRequest {
        method: one("method").unwrap_or("GET").to_ascii_uppercase(),
        scheme: uri.scheme_str().unwrap_or("http").to_owned(),
        host,
        target: uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        listener: one("listener").map(str::to_owned),
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_the_query() {
        let rows = [
            ("url=http://shop/a%3Fb=1", "GET http shop /a?b=1 []"),
            ("url=/only&method=post", "POST http localhost /only []"),
            (
                "url=https://x:8443&header=Host: y&header=A: b:c",
                r#"GET https y / [("A", "b:c")]"#,
            ),
            ("method=GET", "`url` is missing"),
            ("url=/a&header=x", "`x` is not like `name: value`"),
        ];
        for (query, expected) in rows {
            let pair = |part: &str| {
                part.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.replace("%3F", "?")))
            };
            let query: Vec<_> = query.split('&').filter_map(pair).collect();
            let shown = match read(&query) {
                Ok(ExplainRequest {
                    method,
                    scheme,
                    host,
                    target,
                    headers,
                    ..
                }) => {
                    format!("{method} {scheme} {host} {target} {headers:?}")
                }
                Err(error) => error,
            };
            assert_eq!(shown, expected);
        }
    }
}
