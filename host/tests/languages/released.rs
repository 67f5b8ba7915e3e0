//! Bots of released versions of the contract: built as their authors built them then, and loaded by the host of today.

use std::path::Path;

use foundry_host::supervisor::{BotSource, BotSpec, Inspector, Trial, TrialEvent, TrialOutcome};
use foundry_host::toolkit::{self, Language};
use serde_json::Value;

use super::conformer::{REPOSITORY, tools};

const VERSION: &str = "0.1.0";

/// What a new project's bot is tested with.
const COMMIT: &str = include_str!("../../../sdk/c/template/commit.json");

/// A bot of version 0.1.0 says so, and handles a message.
pub async fn is_loaded(language: Language, inspector: &Inspector) {
    let directory = tempfile::tempdir().unwrap();
    let component = match language {
        // Made with the contract alone: see tests/guests/released.
        Language::Rust => foundry_test_guests::path("released"),
        _ => {
            let project = directory.path().join("greeter");
            toolkit::create(language, "greeter", &project).unwrap();
            as_it_was(&project);
            toolkit::build(&project, &tools(language)).unwrap().component
        }
    };
    let source = BotSource::File(component);
    let (info, _) = inspector.inspect(&source).await.unwrap();
    assert_eq!(info.contract(), Some(VERSION));
    let trial = Trial::load(inspector, &BotSpec::new(source)).await.unwrap();
    let event: Value = serde_json::from_str(COMMIT).unwrap();
    let report = trial
        .handle(TrialEvent {
            event_type: event["type"].as_str().unwrap().to_owned(),
            topic: None,
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            subject: None,
            data: event["data"].as_object().unwrap().clone(),
            attempt: 0,
        })
        .await
        .unwrap();
    assert_eq!(report.outcome, TrialOutcome::Done, "{report:?}");
    assert_eq!(report.published[0].topic, "greetings");
    assert_eq!(report.published[0].data["count"], 1);
}

/// The contract of that version in `wit/`, and the SDK without what came later.
fn as_it_was(project: &Path) {
    let wit = project.join("wit");
    std::fs::remove_dir_all(&wit).unwrap();
    std::fs::create_dir(&wit).unwrap();
    for entry in std::fs::read_dir(Path::new(REPOSITORY).join("wit/released").join(VERSION)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), wit.join(entry.file_name())).unwrap();
    }
    let sdk = project.join("vendor/foundry-sdk");
    for entry in std::fs::read_dir(&sdk).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "mail") {
            std::fs::remove_file(path).unwrap();
        } else if path.extension().is_some_and(|extension| extension == "js") {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("@0.1.1\"", &format!("@{VERSION}\""))).unwrap();
        }
    }
}
