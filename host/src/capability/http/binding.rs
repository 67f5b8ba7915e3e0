//! The interface as bots see it.

use std::sync::Arc;
use std::time::Duration;

use super::client::{HttpError, MAX_BODY, Request};
use crate::runtime::{Invocation, wit};

use wit::http::{Error, Response};

impl wit::http::Host for Invocation {
    async fn send(&mut self, request: wit::http::Request) -> wasmtime::Result<Result<Response, Error>> {
        let bot = Arc::clone(&self.bot);
        let request = Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            timeout: request.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        };
        // Has a deadline of its own, so that a bot that is stopped meanwhile leaves no thread behind for long.
        let sent = tokio::task::spawn_blocking(move || bot.services.http.send(&request, &bot.grants.http)).await?;
        Ok(match sent {
            Ok(response) => Ok(Response {
                status: response.status,
                headers: response.headers,
                body: response.body,
            }),
            Err(error) => Err(match error {
                HttpError::NotGranted(what) => Error::NotGranted(what),
                HttpError::BadRequest(why) => Error::BadRequest(why),
                HttpError::TimedOut => Error::TimedOut,
                HttpError::TooLarge => Error::TooLarge(MAX_BODY),
                HttpError::Unavailable(why) => Error::Unavailable(why),
            }),
        })
    }
}
