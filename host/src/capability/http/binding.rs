//! The interface as bots see it.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Http, HttpError, MAX_BODY, Request, Response};
use crate::capability::tape::{self, Answer, Content, Exchange};
use crate::runtime::{Invocation, wit};

use wit::http::Error;

impl wit::http::Host for Invocation {
    async fn send(&mut self, request: wit::http::Request) -> wasmtime::Result<Result<wit::http::Response, Error>> {
        let request = Request {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            timeout: request.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        };
        if let Err(too_much) = self.effects.budget.pass(size(&request)) {
            return Ok(Err(Error::BadRequest(too_much.to_string())));
        }
        let asked = tape::HttpAsked {
            method: request.method.clone(),
            url: request.url.clone(),
            body: Content(request.body.clone()),
        };
        let bot = Arc::clone(&self.bot);
        let tape = &bot.services.tape;
        let granted = bot.grants.web_permits();
        if tape.is_playing()
            && let Err(error) = Http::check(&request, &granted)
        {
            return Ok(Err(error.into()));
        }
        if let Some(answer) = tape.play::<tape::Http>(&asked)? {
            let answer = match answer {
                Answer::Answer(answer) => Ok(answer.into()),
                Answer::Error(failure) => Err(HttpError::from(failure).into()),
            };
            return Ok(answer.and_then(|answer| self.handed_over(answer)));
        }
        let asking = Arc::clone(&bot);
        // Has a deadline of its own, so that a bot that is stopped meanwhile leaves no thread behind for long.
        let sent = tokio::task::spawn_blocking(move || asking.services.http.send(&request, &granted)).await?;
        tape.record::<tape::Http>(|| Exchange {
            asked,
            answer: match &sent {
                Ok(response) => Answer::Answer(response.into()),
                Err(error) => Answer::Error(error.into()),
            },
        });
        Ok(sent
            .map_err(Error::from)
            .and_then(|answer| self.handed_over(answer.into())))
    }
}

impl Invocation {
    /// An answer, if the message has something left for it.
    fn handed_over(&mut self, answer: wit::http::Response) -> Result<wit::http::Response, Error> {
        match self.effects.budget.pass(answer.body.len()) {
            Ok(()) => Ok(answer),
            Err(too_much) => Err(Error::BadRequest(too_much.to_string())),
        }
    }
}

/// Bytes of what a bot says in a request.
fn size(request: &Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
    headers.sum::<usize>() + request.url.len() + request.method.len() + request.body.len()
}

impl From<Response> for wit::http::Response {
    fn from(response: Response) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: response.body,
        }
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::NotGranted(what) => Self::NotGranted(what),
            HttpError::BadRequest(why) => Self::BadRequest(why),
            HttpError::TimedOut => Self::TimedOut,
            HttpError::TooLarge => Self::TooLarge(MAX_BODY),
            HttpError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<tape::HttpAnswer> for wit::http::Response {
    fn from(answer: tape::HttpAnswer) -> Self {
        Self {
            status: answer.status,
            headers: answer.headers,
            body: answer.body.0,
        }
    }
}

impl From<&Response> for tape::HttpAnswer {
    fn from(response: &Response) -> Self {
        Self {
            status: response.status,
            headers: response.headers.clone(),
            body: Content(response.body.clone()),
        }
    }
}

impl From<tape::HttpFailure> for HttpError {
    fn from(failure: tape::HttpFailure) -> Self {
        match failure {
            tape::HttpFailure::NotGranted(what) => Self::NotGranted(what),
            tape::HttpFailure::BadRequest(why) => Self::BadRequest(why),
            tape::HttpFailure::TimedOut => Self::TimedOut,
            tape::HttpFailure::TooLarge => Self::TooLarge,
            tape::HttpFailure::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<&HttpError> for tape::HttpFailure {
    fn from(error: &HttpError) -> Self {
        match error.clone() {
            HttpError::NotGranted(what) => Self::NotGranted(what),
            HttpError::BadRequest(why) => Self::BadRequest(why),
            HttpError::TimedOut => Self::TimedOut,
            HttpError::TooLarge => Self::TooLarge,
            HttpError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
