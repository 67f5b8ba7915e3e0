//! MQTT client identifiers: whose session is whose at the broker (MQTT 5, section 3.1.3.1).
//!
//! Names of hosts and bots hold no `/`, and are never empty, so that no two of these identifiers meet. The embedded broker
//! keeps all that begin with `foundry/` for hosts ([`HOSTS_CLIENT_IDS`]).

use foundry_broker::HOSTS_CLIENT_IDS;

/// The client identifier of a bot: `foundry/HOST/BOT`.
#[must_use]
pub fn client_id_of_bot(host: &str, bot: &str) -> String {
    format!("{HOSTS_CLIENT_IDS}{host}/{bot}")
}

/// The client identifier of a part of a host, such as its publisher: `foundry/HOST//PART`.
#[must_use]
pub fn client_id_of_part(host: &str, part: &str) -> String {
    format!("{HOSTS_CLIENT_IDS}{host}//{part}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::supervisor::is_bot_name;

    type Named = (String, String, bool);

    fn id((host, name, is_bot): &Named) -> String {
        match is_bot {
            true => client_id_of_bot(host, name),
            false => client_id_of_part(host, name),
        }
    }

    fn name() -> impl Strategy<Value = String> {
        // Short ones of few letters meet often; long ones are at the limit.
        prop_oneof!["[ab.-]{1,3}", "[A-Za-z0-9._-]{60,64}"].prop_filter("a name", |name| is_bot_name(name))
    }

    proptest! {
        #[test]
        fn no_two_bots_or_parts_have_one_client_id(
            one in (name(), name(), any::<bool>()),
            other in (name(), name(), any::<bool>()),
        ) {
            prop_assert_eq!(one == other, id(&one) == id(&other));
        }
    }

    #[test]
    fn host_and_bot_can_be_told_apart() {
        assert_eq!(client_id_of_bot("a", "b-c"), "foundry/a/b-c");
        assert_eq!(client_id_of_bot("a-b", "c"), "foundry/a-b/c");
        assert_eq!(client_id_of_bot("a", "publisher"), "foundry/a/publisher");
        assert_eq!(client_id_of_part("a", "publisher"), "foundry/a//publisher");
    }
}
