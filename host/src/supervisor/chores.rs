//! What a host does on the side.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::bus::{LiveMessage, Publisher};
use crate::capability::LogLine;
use crate::event::Topics;

/// Log lines of runs go to `foundry/logs/<host>/<run>/<bot>` as they are written. They are not signed: the host is in the topic so that
/// a broker can keep others from writing in its name.
pub(super) async fn forward_logs(
    mut lines: tokio::sync::broadcast::Receiver<Arc<LogLine>>,
    publisher: Publisher,
    (topics, host): (Topics, String),
    cancel: CancellationToken,
) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = cancel.cancelled() => return,
        };
        match line {
            Ok(line) => {
                if let Some(run) = &line.run {
                    let payload = serde_json::to_vec(&*line).unwrap_or_default();
                    publisher.live(LiveMessage {
                        topic: topics.log(&host, run, &line.bot),
                        payload,
                        retain: false,
                    });
                }
            }
            // The files have every line; live listeners may miss some.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
