//! Any bytes as all that a client says to a broker.

#![no_main]

use std::sync::LazyLock;

use foundry_broker::fuzzing::Conversations;

static CONVERSATIONS: LazyLock<Conversations> = LazyLock::new(Conversations::new);

libfuzzer_sys::fuzz_target!(init: foundry_broker::fuzzing::sow("conversation"), |bytes: &[u8]| CONVERSATIONS.hold(bytes));
