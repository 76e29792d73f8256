//! The port: HTTP/1.1 and HTTP/2 (so REST and gRPC) on one listener, bounded, with a graceful drain.

mod framing;
mod preface;

use crate::base_path::strip;
use axum::{Router, extract::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use kaogong_domain::base_path::BasePath;
use preface::Preface;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt;

/// Connections at once; one more waits to be accepted.
pub const CONNECTIONS_MAX: usize = 8192;
/// How long a client may take to send its request head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// A peer that was silent for this long is asked whether it is there, this often, and given up after so many times.
const PEER_SILENCE: Duration = Duration::from_secs(60);
const PEER_PROBE: Duration = Duration::from_secs(15);
const PEER_PROBES: u32 = 4;
/// How long open calls may take to end after the server was asked to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// Serves until `stop` resolves, then lets open calls end.
pub async fn listen(listener: TcpListener, router: Router, base: BasePath, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let builder = connection_builder();
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            () = &mut stop => break,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(it) => it,
                Err(it) => {
                    // Out of file descriptors, most likely: wait for a connection to end instead of spinning.
                    tracing::warn!("cannot accept a connection: {it}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = graceful.watch(open(&builder, stream, peer, router.clone(), base.clone()));
        tokio::spawn(async move {
            if let Err(it) = connection.await {
                tracing::debug!("connection from {peer} ended: {it}");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls were still open after {} s and are cut off", DRAIN_TIME_MAX.as_secs());
    }
}

fn connection_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(256 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Lets the system ask a silent peer whether it is still there. One whose machine or network is gone says nothing, and
/// would keep its place, and an open stream its task, for ever.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_tcp_keepidle(stream, PEER_SILENCE)?;
    sockopt::set_tcp_keepintvl(stream, PEER_PROBE)?;
    sockopt::set_tcp_keepcnt(stream, PEER_PROBES)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

fn open(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    base: BasePath,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + use<>
{
    if let Err(it) = keep_alive(&stream) {
        tracing::debug!("cannot watch over the connection from {peer}: {it}");
    }
    // Small answers must not wait for the acknowledgement of the last one.
    if let Err(it) = stream.set_nodelay(true) {
        tracing::debug!("cannot turn off Nagle's algorithm for {peer}: {it}");
    }
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        // Before the router, which decides by the path.
        strip(&base, &mut request);
        request.map(axum::body::Body::new)
    });
    let stream = Preface::new(stream, HEAD_TIME_MAX);
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;

    #[tokio::test]
    async fn a_silent_peer_is_asked_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (stream, _)) = (client.expect("a client"), accepted.expect("a connection"));
        assert!(!sockopt::socket_keepalive(&stream).expect("an option"));
        keep_alive(&stream).expect("options");
        assert!(sockopt::socket_keepalive(&stream).expect("an option"));
        assert_eq!(sockopt::tcp_keepidle(&stream).expect("an option"), PEER_SILENCE);
        assert_eq!(sockopt::tcp_keepintvl(&stream).expect("an option"), PEER_PROBE);
        assert_eq!(sockopt::tcp_keepcnt(&stream).expect("an option"), PEER_PROBES);
    }
}
