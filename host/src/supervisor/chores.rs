//! What a host does on the side.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::bus::{LiveMessage, Publisher};
use crate::capability::LogLine;
use crate::event::Topics;

/// Log lines of runs go to `foundry/logs/<run>/<bot>` as they are written.
pub(super) async fn forward_logs(
    mut lines: tokio::sync::broadcast::Receiver<Arc<LogLine>>,
    publisher: Publisher,
    topics: Topics,
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
                        topic: topics.log(run, &line.bot),
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
