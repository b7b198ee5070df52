//! The HTTP server. One task accepts; each connection is a task of the same runtime and lives no
//! longer than its bound. Handlers are plain functions and must not block for long.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::response::Response;
use crate::listen::{Listener, StdStream};
use crate::shutdown::Shutdown;

/// What a client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// Bytes of a request's line and headers (at least 8192).
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time to send a request's line and headers, from when we start to wait for them; also how
    /// long a kept-alive connection may be idle.
    pub head_time: Duration,
    /// Life of a connection.
    pub connection_time: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 16 * 1024,
            headers: 64,
            head_time: Duration::from_secs(10),
            connection_time: Duration::from_secs(300),
        }
    }
}

/// How long open requests get to end at shutdown.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Pause after `accept` failed, as when the process is out of file descriptors.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
type Pages = Box<dyn Fn(&str) -> Option<Response> + Send + Sync>;
type Metrics = Box<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What is served. `/healthz` says whether the process works at all (restart it if not),
/// `/readyz` whether it should get traffic.
pub struct Routes {
    metrics: Metrics,
    healthy: Check,
    ready: Check,
    pages: Pages,
}

impl Routes {
    /// Metrics from a registry; healthy and ready until said otherwise; no further pages.
    pub fn new(registry: prometheus::Registry) -> Self {
        let metrics = move || crate::metrics::encode(&registry).map_err(|cause| cause.to_string());
        Self {
            metrics: Box::new(metrics),
            healthy: Box::new(|| Ok(())),
            ready: Box::new(|| Ok(())),
            pages: Box::new(|_| None),
        }
    }

    /// What `/healthz` asks: `Err` says what is broken.
    #[must_use]
    pub fn healthy(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.healthy = Box::new(check);
        self
    }

    /// What `/readyz` asks: `Err` says what is missing.
    #[must_use]
    pub fn ready(mut self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.ready = Box::new(check);
        self
    }

    /// Further pages by path (without the query).
    #[must_use]
    pub fn pages(mut self, pages: impl Fn(&str) -> Option<Response> + Send + Sync + 'static) -> Self {
        self.pages = Box::new(pages);
        self
    }

    fn answer(&self, method: &Method, path: &str) -> Response {
        if method != Method::GET && method != Method::HEAD {
            return Response::text(405, "only GET and HEAD are served here\n");
        }
        match path {
            "/metrics" => match (self.metrics)() {
                Ok(text) => Response::metrics(text),
                Err(cause) => Response::text(500, format!("cannot gather metrics: {cause}\n")),
            },
            "/healthz" => check(&self.healthy),
            "/readyz" => check(&self.ready),
            path => (self.pages)(path).unwrap_or_else(|| Response::text(404, "no such page\n")),
        }
    }
}

fn check(check: &Check) -> Response {
    match check() {
        Ok(()) => Response::text(200, "ok\n"),
        Err(reason) => Response::text(503, reason + "\n"),
    }
}

/// Serves until the token is tripped, then lets open requests end for a second.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    limits: HttpLimits,
    shutdown: Shutdown,
) -> io::Result<()> {
    let listener = listener.into_async()?;
    let routes = Arc::new(routes);
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.map_err(io::Error::other)?,
            () = shutdown.wait() => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(cause) => {
                    tracing::warn!(%cause, "cannot accept HTTP connections; trying again");
                    tokio::time::sleep(STARVED_PAUSE).await;
                    continue;
                }
            },
            () = shutdown.wait() => break,
        };
        let (routes, limits, shutdown) = (Arc::clone(&routes), limits.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, routes, &limits, &shutdown).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drain = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN_TIME, drain).await;
    Ok(())
}

async fn connection(stream: StdStream, routes: Arc<Routes>, limits: &HttpLimits, shutdown: &Shutdown) {
    let Ok(stream) = stream.into_async() else {
        return;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let response = routes.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(render(response)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes.max(8192))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A client that hangs up, stalls or speaks no HTTP is no event of ours: nothing is logged.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(limits.connection_time) => {}
        () = shutdown.wait() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN_TIME, connection).await;
}

fn render(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut rendered = hyper::Response::new(Full::new(response.body));
    *rendered.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(&response.content_type) {
        rendered.headers_mut().insert(CONTENT_TYPE, value);
    }
    rendered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::get;
    use crate::listen::{Address, SocketOptions, bind};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const WAIT: Duration = Duration::from_secs(30);

    fn start(
        routes: Routes,
        limits: HttpLimits,
    ) -> (String, Shutdown, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).unwrap();
        let address = listener.local_address().to_string();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listener, routes, limits, shutdown.clone()));
        (address, shutdown, task)
    }

    #[tokio::test]
    async fn pages_health_and_metrics() {
        let registry = prometheus::Registry::new();
        let counter = prometheus::IntCounter::new("torc_pages_total", "Pages.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let ready = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ready);
        let routes = Routes::new(registry)
            .ready(move || asked.load(Ordering::SeqCst).then_some(()).ok_or("no map yet".to_owned()))
            .pages(|path| (path == "/status").then(|| Response::json("{}")));
        let (address, shutdown, task) = start(routes, HttpLimits::default());

        assert_eq!(get(&address, "/healthz", WAIT).await.unwrap().body_text(), "ok\n");
        let response = get(&address, "/readyz", WAIT).await.unwrap();
        assert_eq!((response.status, &*response.body_text()), (503, "no map yet\n"));
        ready.store(true, Ordering::SeqCst);
        assert_eq!(get(&address, "/readyz", WAIT).await.unwrap().status, 200);
        let response = get(&address, "/metrics", WAIT).await.unwrap();
        assert!(response.content_type.starts_with("text/plain; version=0.0.4"));
        assert!(response.body_text().contains("torc_pages_total 1"));
        assert_eq!(get(&address, "/status?x=1", WAIT).await.unwrap().content_type, "application/json");
        assert_eq!(get(&address, "/other", WAIT).await.unwrap().status, 404);

        shutdown.trigger();
        task.await.unwrap().unwrap();
        assert!(get(&address, "/healthz", WAIT).await.is_err());
    }

    async fn talk(address: &str, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close while we are still writing: that is an answer too.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn bounds_hold() {
        let limits = HttpLimits { head_time: Duration::from_millis(100), ..HttpLimits::default() };
        let (address, _shutdown, _task) = start(Routes::new(prometheus::Registry::new()), limits);
        assert!(
            talk(&address, b"POST /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 405")
        );
        let long = [b"GET /", "x".repeat(64 * 1024).as_bytes()].concat();
        assert!(!talk(&address, &long).await.contains("200"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert!(talk(&address, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
        // Says nothing: is closed when its time is up.
        talk(&address, b"GET / HT").await;
        assert!(talk(&address, b"\0\xff\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        assert_eq!(get(&address, "/healthz", WAIT).await.unwrap().status, 200);
    }
}
