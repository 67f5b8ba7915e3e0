//! MQTT in binary WebSocket messages (MQTT 5 section 6), as a byte stream.

use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{Response as HttpResponse, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use crate::config::WebSocket;

/// Answers the HTTP request. A browser sends the origin of the page that connects: pages that the operator did not
/// name must not talk to a broker on the user's machine.
#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
pub(super) async fn accept<S>(stream: S, settings: &WebSocket, limit: usize) -> Result<Bridge<S>, WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = |request: &Request, mut response: Response| {
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        if let Some(origin) = header(ORIGIN)
            && !settings.origins.iter().any(|allowed| allowed == origin)
            && !is_own_address(origin, header(HOST))
        {
            tracing::info!(
                origin,
                "WebSocket from a page that is not allowed (see broker.websocket.origins)"
            );
            return Err(refusal(StatusCode::FORBIDDEN, "this page may not connect"));
        }
        let mqtt = header(SEC_WEBSOCKET_PROTOCOL)
            .is_some_and(|list| list.split(',').any(|protocol| protocol.trim() == "mqtt"));
        if !mqtt {
            return Err(refusal(StatusCode::BAD_REQUEST, "the WebSocket subprotocol is mqtt"));
        }
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .write_buffer_size(0);
    let socket = accept_hdr_async_with_config(stream, answer, Some(config)).await?;
    Ok(Bridge {
        socket,
        unread: Bytes::new(),
    })
}

/// Whether an origin is just the address that the client connects to: Eclipse Paho's clients always send it. The broker
/// serves no pages, so no page has this origin. A name does not do: whoever owns one can have it lead here, and then a
/// page of his has it for origin.
fn is_own_address(origin: &str, host: Option<&str>) -> bool {
    let scheme = |scheme| origin.strip_prefix(scheme);
    let authority = scheme("http://").or_else(|| scheme("https://"));
    let is_number = |text: &str| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        text.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
    };
    let is_here = |text: &str| is_number(text) || text.split(':').next() == Some("localhost");
    authority.is_some_and(|authority| Some(authority) == host && is_here(authority))
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut response = HttpResponse::new(Some(why.to_owned()));
    *response.status_mut() = status;
    response
}

/// A WebSocket that reads and writes bytes. Packets need not be aligned with messages.
#[derive(Debug)]
pub(super) struct Bridge<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
}

fn io(error: WebSocketError) -> IoError {
    match error {
        WebSocketError::Io(error) => error,
        other => IoError::new(ErrorKind::InvalidData, other.to_string()),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bridge<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    let error = IoError::new(ErrorKind::InvalidData, "MQTT in a text message");
                    return Poll::Ready(Err(error));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io(error))),
            }
        }
        let count = self.unread.len().min(out.remaining());
        out.put_slice(self.unread.get(..count).unwrap_or_default());
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bridge<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.socket).start_send(message).map_err(io)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::is_own_address;

    #[test]
    fn an_origin_that_is_the_address_in_numbers_is_no_page() {
        let own = |origin, host| is_own_address(origin, Some(host));
        assert!(own("http://127.0.0.1:8083", "127.0.0.1:8083"));
        assert!(own("https://[::1]:8083", "[::1]:8083"));
        assert!(own("http://localhost:8083", "localhost:8083"));
        assert!(!own("http://127.0.0.1:8080", "127.0.0.1:8083"), "another server's page");
        assert!(!own("http://127.0.0.1", "127.0.0.1:8083"));
        assert!(!own("http://rebound.example:8083", "rebound.example:8083"));
        assert!(!own("http://localhost.example:8083", "localhost.example:8083"));
        assert!(!own("null", "null"));
        assert!(!is_own_address("http://127.0.0.1:8083", None));
    }
}
