//! What bots do before they are asked to do anything: while they are built, and while they say what they are.

use std::path::{Path, PathBuf};

use foundry_host::capability::Level;
use foundry_host::runtime::{Answer, Fault};
use foundry_host::supervisor::{BotSource, BotSpec, Inspector, LoadFailure, Trial, TrialEvent, TrialOutcome};
use foundry_host::toolkit::{self, Language};
use serde_json::json;

use super::conformer::tools;

/// A new project whose files are replaced, built.
fn built(language: Language, directory: &Path, files: &[(&str, &str)]) -> PathBuf {
    let project = directory.join("speaker");
    toolkit::create(language, "speaker", &project).unwrap();
    for (name, text) in files {
        std::fs::write(project.join(name), text).unwrap();
    }
    toolkit::build(&project, &tools(language)).unwrap().component
}

async fn ask(directory: &Path, component: &Path) -> Result<Answer, LoadFailure> {
    let inspector = Inspector::new(directory.join("compiled")).unwrap();
    let (_, answer) = inspector.ask(&BotSource::File(component.to_owned())).await?;
    Ok(answer)
}

fn said(answer: &Answer) -> Vec<(Level, &str)> {
    answer
        .said
        .iter()
        .map(|said| (said.level, said.line.as_str()))
        .collect()
}

fn event() -> TrialEvent {
    TrialEvent {
        event_type: "test.order.v1".to_owned(),
        topic: None,
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        subject: None,
        data: serde_json::from_value(json!({})).unwrap(),
        attempt: 0,
    }
}

const TIMELY: &str = r#"
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "foundry.h"

void foundry_describe(foundry_description *bot) {
    unsigned long long number = 0;
    getentropy(&number, sizeof number);
    printf("describing at %lld\n", (long long)time(NULL));
    foundry_bot(bot, "speaker", foundry_format("%llx", number), "knows the time");
    foundry_reads(bot, "watch", "orders", "speaker");
}

const char *foundry_configure(void) {
    fprintf(stderr, "configuring at %lld\n", (long long)time(NULL));
    return NULL;
}

foundry_outcome foundry_handle(const foundry_message *message) {
    (void)message;
    printf("handling\n");
    return foundry_done();
}
"#;

#[tokio::test]
async fn a_bot_that_asks_for_the_time_in_its_description_has_one_answer() {
    let directory = tempfile::tempdir().unwrap();
    let component = built(Language::C, directory.path(), &[("bot.c", TIMELY)]);
    let first = ask(directory.path(), &component).await.unwrap();
    let again = ask(directory.path(), &component).await.unwrap();
    assert_ne!(first.description.version, "0");
    assert_eq!(first.description.version, again.description.version);
    assert_eq!(said(&first), [(Level::Info, "describing at 946684800")]);
    assert_eq!(first.said, again.said);

    // Its log begins with it.
    let inspector = Inspector::new(directory.path().join("compiled")).unwrap();
    let trial = Trial::load(&inspector, &BotSpec::new(BotSource::File(component)))
        .await
        .unwrap();
    let log = trial.handle(event()).await.unwrap().log;
    let lines: Vec<_> = log.iter().map(|line| (line.level, line.line.as_str())).collect();
    assert_eq!(
        lines,
        [
            (Level::Info, "describing at 946684800"),
            (Level::Warn, "configuring at 946684800"),
            (Level::Info, "handling"),
        ]
    );
    let second = trial.handle(event()).await.unwrap().log;
    assert_eq!(second.len(), 1, "told once: {second:?}");
}

#[tokio::test]
async fn a_description_that_acts_or_fails_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let acting = TIMELY.replace(
        "    unsigned long long number = 0;",
        "    unsigned long long number = 0;\n    const char *value;\n    foundry_state_get(\"key\", &value, NULL);",
    );
    let component = built(Language::C, directory.path(), &[("bot.c", &acting)]);
    let error = ask(directory.path(), &component).await.unwrap_err().to_string();
    assert!(
        error.contains("its describe called foundry:bot/state@0.1.1#get") && error.contains("move this to configure"),
        "{error}"
    );

    let project = directory.path().join("speaker");
    let failing = TIMELY
        .replace("#include <stdio.h>", "#include <assert.h>\n#include <stdio.h>")
        .replace("    getentropy", "    assert(number);\n    getentropy");
    std::fs::write(project.join("bot.c"), failing).unwrap();
    let component = toolkit::build(&project, &tools(Language::C)).unwrap().component;
    let error = ask(directory.path(), &component).await.unwrap_err().to_string();
    assert!(
        error.ends_with("its describe trapped: bot.c:11: Assertion failed: number"),
        "{error}"
    );
}

const TALKATIVE: &str = r##"
import { defineBot, options } from "#foundry";
import { words } from "./words.ts";

console.log("at the top", { level: 1 });

export const { describe, configure, handle, tick } = defineBot({
  name: "speaker",
  version: "1",
  summary: "speaks",
  reads: [{ topic: "orders", group: "speaker" }],
  handle(message) {
    console.debug("handling", [message.id.length], new Map([["a", null]]));
    const ring: any = { of: 1n };
    ring.self = ring;
    console.debug("%j %d", ring, Symbol("three"));
    console.log(words(undefined as any));
  },
});
"##;

const WORDS: &str = r#"
/** Types that leave nothing behind. */
interface Speech {
  words: string[];
}

export function words(speech: Speech): string {
  return speech.words.join(" ");
}
"#;

#[tokio::test]
async fn a_typescript_bot_prints_and_fails_with_the_place_in_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let files = [("bot.ts", TALKATIVE), ("words.ts", WORDS)];
    let component = built(Language::Typescript, directory.path(), &files);
    let answer = ask(directory.path(), &component).await.unwrap();
    assert_eq!(said(&answer), [(Level::Info, "at the top { level: 1 }")]);

    let inspector = Inspector::new(directory.path().join("compiled")).unwrap();
    let trial = Trial::load(&inspector, &BotSpec::new(BotSource::File(component)))
        .await
        .unwrap();
    let report = trial.handle(event()).await.unwrap();
    let lines: Vec<_> = report.log.iter().map(|line| (line.level, line.line.as_str())).collect();
    assert_eq!(lines[1], (Level::Debug, "handling [32] Map { \"a\" => null }"));
    // Neither has the form that is asked for.
    assert_eq!(lines[2], (Level::Debug, "{ of: 1n, self: [Circular] } Symbol(three)"));
    assert_eq!(lines[3].0, Level::Error);
    assert!(
        lines.iter().any(|(_, line)| line.contains("at handle (bot.ts:17")),
        "{lines:?}"
    );
    match report.outcome {
        TrialOutcome::Fault(Fault::Trap(text)) => assert!(text.starts_with("words.ts:8: TypeError: "), "{text}"),
        other => panic!("{other:?}"),
    }

    // A module that fails while the bot is built says where as well.
    let project = directory.path().join("speaker");
    std::fs::write(project.join("words.ts"), format!("{WORDS}\nwords(undefined as any);\n")).unwrap();
    let error = toolkit::build(&project, &tools(Language::Typescript))
        .unwrap_err()
        .to_string();
    assert!(error.contains("words.ts:8") && error.contains("words.ts:11"), "{error}");
}

const RUDE: &str = r#"
#include <stdio.h>

#include "foundry.h"

void foundry_describe(foundry_description *bot) {
    printf("\x1b]0;title\x07\n");
    foundry_bot(bot, "bad\nname\x1b[31m", "1\x1b[2J", "\x1b[2Jgone\u202e");
    foundry_accepts(bot, (foundry_option_spec){.name = "text", .help = "A \x1b[31mtext."});
    foundry_reads(bot, "watch", "orders", "speaker");
}

foundry_outcome foundry_handle(const foundry_message *message) {
    (void)message;
    return foundry_done();
}
"#;

#[tokio::test]
async fn what_a_bot_says_of_itself_gives_terminals_no_commands() {
    let directory = tempfile::tempdir().unwrap();
    let component = built(Language::C, directory.path(), &[("bot.c", RUDE)]);
    for verb in [
        &["inspect"][..],
        &["load"],
        &["load", "--help"],
        &["test", "--tick", "x"],
    ] {
        let (verb, options) = verb.split_first().unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_foundry-host"))
            .arg(verb)
            .args(options.iter().filter(|option| **option != "--help"))
            .arg(&component)
            .args(options.iter().filter(|option| **option == "--help"))
            .env("FOUNDRY_STATE", directory.path().join("state"))
            .output()
            .unwrap();
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.is_empty());
        let bad: Vec<_> = shown
            .chars()
            .filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}')
            .collect();
        assert!(bad.is_empty(), "{verb}: {shown:?}");
    }
    let _ = std::process::Command::new(env!("CARGO_BIN_EXE_foundry-host"))
        .args(["shutdown", "--state"])
        .arg(directory.path().join("state"))
        .output();
}
