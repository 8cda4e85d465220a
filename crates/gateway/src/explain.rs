//! The way a request would take, in words.

use std::collections::BTreeMap;
use std::time::Instant;

use hythe_balance::Query;
use hythe_http1::path;
use hythe_model::view::{
    AnswerView, CandidateView, EndpointView, Explanation, MatchView, RouteView, UpstreamView,
};
use hythe_model::{FullName, Name, ProjectName, Route};
use hythe_ports::{BoxFuture, ExplainRequest, Routes};
use hythe_routing::{HeaderLookup, RequestKey, Verdict, upstream_path};
use hythe_spine::Latest;
use hythe_stdx::format_duration;

use crate::respond::Failure;
use crate::snapshot::{RoutePlan, ServicePlan, Snapshot};

/// Answers questions about the routes as they are served.
#[derive(Debug, Clone)]
pub struct Explainer {
    snapshot: Latest<Snapshot>,
}

impl Explainer {
    pub(crate) fn new(snapshot: Latest<Snapshot>) -> Self {
        Self { snapshot }
    }

    fn explain_now(&self, request: &ExplainRequest) -> Explanation {
        let snapshot = self.snapshot.get();
        let (sent_path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (request.target.as_str(), None),
        };
        let normal = path::normalize(sent_path.as_bytes());
        let key = RequestKey {
            method: request.method.as_bytes(),
            host: request.host.as_bytes(),
            path: &normal,
            https: request.scheme == "https",
            sni: None,
            listener: request.listener.as_deref(),
            headers: &Given(&request.headers),
        };
        let mut explanation = Explanation {
            method: request.method.clone(),
            host: request.host.clone(),
            path: String::from_utf8_lossy(&normal).into_owned(),
            route: None,
            candidates: Vec::new(),
            plugins: Vec::new(),
            upstream: None,
            answer: None,
        };
        let mut because = String::new();
        for candidate in snapshot.table.explain(&key) {
            match candidate.verdict {
                Verdict::Wins { because: reason } => because = reason,
                Verdict::Loses { reason } => {
                    explanation.candidates.push(CandidateView {
                        name: candidate.name.to_string(),
                        reason,
                    });
                }
            }
        }
        let Some(found) = snapshot.table.find(&key) else {
            explanation.answer = Some(answer(Failure::NoRoute));
            return explanation;
        };
        let plan = &found.entry.payload;
        explanation.route = Some(MatchView {
            name: plan.label.clone(),
            service: plan.service.as_ref().map(|service| service.label.clone()),
            because,
        });
        explanation.plugins = plugins(plan);
        if found.protocol_mismatch {
            explanation.answer = Some(answer(Failure::HttpsRequired));
            return explanation;
        }
        let Some(service) = &plan.service else {
            explanation.answer = Some(answer(Failure::NoService));
            return explanation;
        };
        let mut path = Vec::new();
        upstream_path(
            service.path.as_deref(),
            found.matched_path,
            sent_path.as_bytes(),
            &normal,
            plan.strip_path,
            plan.path_handling,
            &mut path,
        );
        let mut path = String::from_utf8_lossy(&path).into_owned();
        if let Some(query) = query {
            path = format!("{path}?{query}");
        }
        let host = if plan.preserve_host {
            request.host.clone()
        } else {
            service.host.clone()
        };
        let upstream = upstream(service, path, host);
        if upstream.endpoint.is_none() {
            explanation.answer = Some(nobody(service));
        }
        explanation.upstream = Some(upstream);
        explanation
    }
}

impl Routes for Explainer {
    fn routes(&self, project: Option<&ProjectName>) -> Vec<RouteView> {
        let snapshot = self.snapshot.get();
        snapshot
            .table
            .in_order(project)
            .map(|entry| route_view(&entry.payload, &entry.route))
            .collect()
    }

    fn problems(&self, project: &ProjectName, routes: &BTreeMap<Name, Route>) -> Vec<String> {
        let full = |name: &Name| FullName::new(project.clone(), name.clone());
        let routes = routes.iter().map(|(name, route)| (full(name), route));
        let problems = self.snapshot.get().table.problems(routes);
        problems.iter().map(ToString::to_string).collect()
    }

    fn explain<'a>(&'a self, request: &'a ExplainRequest) -> BoxFuture<'a, Explanation> {
        Box::pin(async { self.explain_now(request) })
    }
}

/// The headers a question comes with.
struct Given<'a>(&'a [(String, String)]);

impl HeaderLookup for Given<'_> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .any(|(_, value)| accept(value.as_bytes()))
    }
}

fn answer(failure: Failure) -> AnswerView {
    let (status, message) = failure.says();
    AnswerView {
        status,
        message: message.to_owned(),
    }
}

/// What becomes of a request that nobody takes.
fn nobody(service: &ServicePlan) -> AnswerView {
    let mut answer = answer(service.pool.nobody());
    if let Some(hold) = service.hold.filter(|_| !service.pool.has_members()) {
        let hold = format_duration(hold);
        answer.message = format!("{}, unless somebody comes within {hold}", answer.message);
    }
    answer
}

fn plugins(plan: &RoutePlan) -> Vec<String> {
    plan.chain
        .links()
        .map(|link| format!("{} ({})", link.kind, link.scope))
        .collect()
}

fn upstream(service: &ServicePlan, path: String, host: String) -> UpstreamView {
    let query = Query::new();
    let (pool, now) = (service.pool.cell.load(), Instant::now());
    let view = |member: &hythe_balance::Member| EndpointView {
        id: member.endpoint.id.to_string(),
        address: member.endpoint.address.to_string(),
        weight: member.endpoint.weight,
        healthy: member.endpoint.healthy,
        in_flight: member.stats.in_flight(),
        not_picked: pool.obstacle(member, now).map(|obstacle| obstacle.to_string()),
        health: None,
        health_since: None,
    };
    UpstreamView {
        pool: service.pool_label.clone(),
        path,
        host,
        algorithm: pool.rules().algorithm.to_string(),
        endpoint: pool.peek(&query, now).map(|member| view(member)),
        endpoints: pool.members().iter().map(|member| view(member)).collect(),
    }
}

fn route_view(plan: &RoutePlan, route: &Route) -> RouteView {
    let protocols = route.protocols.iter().map(ToString::to_string).collect();
    RouteView {
        name: plan.label.clone(),
        service: plan.service.as_ref().map(|service| service.label.clone()),
        protocols,
        methods: route.methods.clone(),
        hosts: route.hosts.clone(),
        paths: route.paths.clone(),
        headers: route
            .headers
            .iter()
            .map(|(name, values)| format!("{name}: {}", values.join("|")))
            .collect(),
        strip_path: route.strip_path,
        preserve_host: route.preserve_host,
        plugins: plugins(plan),
    }
}
