//! Connections, each with a bound on its time and all with a bound on their number: a client that is slow, or speaks
//! no TLS, holds up nobody else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Connections of one address at once.
const MOST: usize = 256;
/// Longest wait for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the head of a request, on a new connection or an idle one.
const HEAD: Duration = Duration::from_mins(1);
/// Longest life of a connection.
const LIFE: Duration = Duration::from_mins(30);

/// Serves in the clear.
pub(super) fn plain(listener: TcpListener, router: Router) {
    accept(listener, move |stream| {
        let router = router.clone();
        async move { talk(stream, router).await }
    });
}

/// Serves by TLS.
pub(super) fn tls(listener: TcpListener, config: Arc<ServerConfig>, router: Router) {
    let acceptor = TlsAcceptor::from(config);
    accept(listener, move |stream| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => talk(stream, router).await,
                Ok(Err(error)) => debug!(%error, "a client and we do not agree on TLS"),
                Err(_) => debug!("a client does not finish its handshake"),
            }
        }
    });
}

fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MOST));
    tokio::spawn(async move {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = serve(stream);
                    tokio::spawn(async move {
                        let _ = timeout(LIFE, served).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Such as too many open files: they will be closed.
                    warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    });
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        debug!(%error, "a connection broke");
    }
}
