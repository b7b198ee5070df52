//! A tiny HTTP client for tools, health checks and tests: one GET per connection, bounded.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;

use super::response::Response;
use crate::listen::Stream;

/// Largest body that is read.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody answers at the address.
    #[error("cannot reach {address}: {cause}")]
    Connect {
        /// The address.
        address: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// The answer did not come in time.
    #[error("{address} did not answer within {waited:?}")]
    Timeout {
        /// The address.
        address: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The answer is not one.
    #[error("bad answer from {address}: {cause}")]
    Protocol {
        /// The address.
        address: String,
        /// What is wrong.
        cause: String,
    },
}

/// Gets `path` from `address` (`HOST:PORT`, or `unix:/path`) within `timeout`.
pub async fn get(address: &str, path: &str, timeout: Duration) -> Result<Response, HttpError> {
    match tokio::time::timeout(timeout, exchange(address, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(HttpError::Timeout { address: address.to_owned(), waited: timeout }),
    }
}

async fn exchange(address: &str, path: &str) -> Result<Response, HttpError> {
    let connect = |cause| HttpError::Connect { address: address.to_owned(), cause };
    let protocol = |cause: String| HttpError::Protocol { address: address.to_owned(), cause };
    let stream = match address.strip_prefix("unix:") {
        Some(path) => Stream::from(tokio::net::UnixStream::connect(path).await.map_err(connect)?),
        None => Stream::from(tokio::net::TcpStream::connect(address).await.map_err(connect)?),
    };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|cause| protocol(cause.to_string()))?;
    let request = Request::get(path)
        .header(HOST, address)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|cause| protocol(cause.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|cause| protocol(cause.to_string()))?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;
        let body = body.map_err(|cause| protocol(cause.to_string()))?.to_bytes();
        Ok(Response { status, content_type: Cow::Owned(content_type), body })
    };
    // The connection must be driven while we wait for the answer; its own error, if any, reaches
    // us through the request.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = answer.as_mut() => answer,
        _ = connection => answer.await,
    }
}
