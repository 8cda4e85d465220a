//! Accepts connections and serves the router on them.
//!
//! There are at most [`MOST_CONNECTIONS`] at a time; more wait in the kernel. A connection that does not
//! bring a whole head in ten seconds is closed, which ends idle ones as well. When the server stops,
//! streams end by themselves, requests under way get a second.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hythe_spine::{Shutdown, Spine};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::bind::Bound;
use crate::extract::Door;
use crate::guard::Rules;
use crate::{Api, Inputs, openapi};

const MOST_CONNECTIONS: usize = 512;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Starts to answer; ends with the spine.
///
/// # Errors
/// When the runtime cannot take the sockets over.
pub fn serve(bound: Bound, inputs: Inputs, spine: &Spine) -> std::io::Result<()> {
    let Bound {
        unix,
        socket,
        tcp,
        api,
        token,
    } = bound;
    let unix = UnixListener::from_std(unix)?;
    let tcp = tcp.map(TcpListener::from_std).transpose()?;
    let api = Arc::new(Api {
        inputs,
        api,
        socket,
        spine: spine.clone(),
        shutdown: spine.shutdown(),
    });
    let rules = Rules {
        bound: api.api,
        token,
    };
    let router = openapi::router(api, rules);
    if let Some(tcp) = tcp {
        let acceptor = Acceptor::new(router.clone(), spine);
        spine.spawn("api over tcp", |shutdown| acceptor.run(shutdown, accept_tcp(tcp)));
    }
    let acceptor = Acceptor::new(router, spine);
    spine.spawn("api over its socket", |shutdown| {
        acceptor.run(shutdown, accept_unix(unix))
    });
    Ok(())
}

struct Acceptor {
    router: Router,
    permits: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Acceptor {
    fn new(router: Router, spine: &Spine) -> Self {
        Self {
            router,
            permits: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            shutdown: spine.shutdown(),
        }
    }

    async fn run<Io, F>(self, shutdown: Shutdown, mut accept: impl FnMut() -> F)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = std::io::Result<Option<(Io, Door)>>>,
    {
        let mut connections = tokio::task::JoinSet::new();
        let accepting = async {
            loop {
                let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                    return;
                };
                while connections.try_join_next().is_some() {}
                match accept().await {
                    Ok(Some((io, door))) => {
                        connections.spawn(connection(
                            io,
                            door,
                            self.router.clone(),
                            self.shutdown.clone(),
                            permit,
                        ));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        // Out of descriptors, most likely: others must end first.
                        tracing::warn!(%error, "the API cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        shutdown.unless_requested(accepting).await;
        while connections.join_next().await.is_some() {}
    }
}

fn accept_tcp(listener: TcpListener) -> impl FnMut() -> AcceptFuture<tokio::net::TcpStream> {
    let listener = Arc::new(listener);
    move || {
        let listener = Arc::clone(&listener);
        Box::pin(async move {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Some((stream, Door::Tcp(Some(peer)))))
        })
    }
}

fn accept_unix(listener: UnixListener) -> impl FnMut() -> AcceptFuture<UnixStream> {
    let listener = Arc::new(listener);
    move || {
        let listener = Arc::clone(&listener);
        Box::pin(async move {
            let (stream, _) = listener.accept().await?;
            Ok(is_trusted(&stream).then_some((stream, Door::Socket)))
        })
    }
}

type AcceptFuture<Io> = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Option<(Io, Door)>>> + Send>>;

/// The user that runs the server, and root.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let trusted = stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    if !trusted {
        tracing::warn!("another user was refused on the API's socket");
    }
    trusted
}

async fn connection<Io>(io: Io, door: Door, router: Router, shutdown: Shutdown, permit: OwnedSemaphorePermit)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(door);
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_REQUESTS, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the API ended early");
    }
    drop(permit);
}
