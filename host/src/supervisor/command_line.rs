//! A bot as the command that loads it, for messages that say what to type.

use super::options::known_options;
use super::spec::BotSpec;
use crate::capability::shell_word;
use crate::runtime::wit::types::{Description, OptionKind};

/// The command that loads a bot as `spec` says, and with more options of `load`, which are ready for a shell.
#[must_use]
pub fn load_command(spec: &BotSpec, description: &Description, more: &[String]) -> String {
    let own = known_options(description);
    let of_host = |option: String| match option.strip_prefix("--") {
        // The bot's option keeps the name that both have.
        Some(rest) if own.iter().any(|own| rest.split(' ').next() == Some(own)) => format!("--host-{rest}"),
        _ => option,
    };
    let mut words = vec!["foundry-host load".to_owned(), shell_word(&spec.source.to_string())];
    words.extend(of_the_host(spec).into_iter().map(of_host));
    for (name, values) in &spec.options {
        let is_flag = description
            .options
            .iter()
            .any(|spec| spec.name == *name && spec.kind == OptionKind::Flag);
        words.extend(values.iter().filter_map(|value| match (is_flag, value.as_str()) {
            (true, "true") => Some(format!("--{}", shell_word(name))),
            (true, _) => None,
            (false, value) => Some(format!("--{} {}", shell_word(name), shell_word(value))),
        }));
    }
    words.extend_from_slice(more);
    words.join(" ")
}

/// The host's options, as far as they differ from what they are by default.
fn of_the_host(spec: &BotSpec) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(spec.name.as_ref().map(|name| format!("--as {}", shell_word(name))));
    words.extend((spec.instances > 1).then(|| format!("--instances {}", spec.instances)));
    words.extend(
        spec.digest
            .as_ref()
            .map(|digest| format!("--digest {}", shell_word(digest))),
    );
    words.extend(spec.signed.then(|| "--signed".to_owned()));
    words.extend(spec.memory.map(|memory| format!("--memory {memory}")));
    words.extend(
        spec.timeout
            .map(|timeout| format!("--timeout {}ms", timeout.as_millis())),
    );
    words.extend(spec.grants.flags());
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::wit::types::OptionSpec;
    use crate::supervisor::BotSource;

    fn option(name: &str, kind: OptionKind) -> OptionSpec {
        OptionSpec {
            name: name.to_owned(),
            kind,
            repeatable: true,
            required: false,
            default: None,
            placeholder: String::new(),
            help: String::new(),
        }
    }

    #[test]
    fn the_command_has_all_that_a_bot_was_loaded_with() {
        let description = Description {
            name: "lint".to_owned(),
            version: "1".to_owned(),
            summary: String::new(),
            options: vec![option("strict", OptionKind::Flag), option("memory", OptionKind::Text)],
            inputs: Vec::new(),
            outputs: Vec::new(),
            timers: Vec::new(),
            message_timeout: None,
        };
        let mut spec = BotSpec::new(BotSource::File("/srv/my bots/lint.wasm".into()))
            .named("lint")
            .option("strict", "true")
            .option("memory", "long");
        spec.instances = 2;
        spec.memory = Some(64 * 1024 * 1024);
        spec.timeout = Some(Duration::from_secs(90));
        spec.grants.build = true;
        spec.grants.read.push("builds@pub/#".parse().unwrap());
        let more = ["--allow-publish reports".to_owned()];
        assert_eq!(
            load_command(&spec, &description, &more),
            "foundry-host load '/srv/my bots/lint.wasm' --as lint --instances 2 --host-memory 67108864 --timeout 90000ms \
             --allow-read 'builds@pub/#' --allow-build --memory long --strict --allow-publish reports"
        );
    }
}
