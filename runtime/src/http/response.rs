//! An answer: status, content type, body.

use std::borrow::Cow;

use bytes::Bytes;

/// An HTTP answer, as a handler gives it and as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        let body = Bytes::from(body.into());
        Self { status, content_type: Cow::Borrowed("text/plain; charset=utf-8"), body }
    }

    /// JSON, already rendered.
    pub fn json(body: impl Into<String>) -> Self {
        let body = Bytes::from(body.into());
        Self { status: 200, content_type: Cow::Borrowed("application/json"), body }
    }

    /// A value as JSON; 500 if it cannot be rendered.
    pub fn json_of(value: &impl serde::Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self::json(text + "\n"),
            Err(cause) => Self::text(500, format!("cannot render this page: {cause}\n")),
        }
    }

    /// Prometheus's text format.
    pub fn metrics(body: String) -> Self {
        let content_type = Cow::Borrowed(crate::metrics::TEXT_FORMAT);
        Self { status: 200, content_type, body: Bytes::from(body) }
    }

    /// The body as text, broken bytes replaced.
    pub fn body_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}
