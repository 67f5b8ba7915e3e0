//! A Rust bot that uses its standard library as any program does: for `wasm32-wasip1`, whose standard library is built from
//! Debian's source of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use foundry_host::capability::Level;
use foundry_host::runtime::Fault;
use foundry_host::supervisor::{BotSource, BotSpec, Inspector, Trial, TrialEvent, TrialOutcome};
use serde_json::{Value, json};

use super::conformer::REPOSITORY;

/// The module as cargo makes it.
fn built(directory: &Path) -> PathBuf {
    let repository = Path::new(REPOSITORY).canonicalize().unwrap();
    let prepared = Command::new(repository.join("scripts/wasi-toolchain"))
        .output()
        .unwrap();
    assert!(
        prepared.status.success(),
        "{}",
        String::from_utf8_lossy(&prepared.stderr)
    );
    let rustc = String::from_utf8(prepared.stdout).unwrap();

    let project = directory.join("ordinary");
    std::fs::create_dir_all(project.join("src")).unwrap();
    let original = repository.join("tests/languages/wasi");
    std::fs::copy(original.join("src/lib.rs"), project.join("src/lib.rs")).unwrap();
    let manifest = std::fs::read_to_string(original.join("Cargo.toml")).unwrap();
    let sdk = repository.join("sdk/rust").display().to_string();
    std::fs::write(project.join("Cargo.toml"), manifest.replace("../../../sdk/rust", &sdk)).unwrap();
    std::fs::copy(repository.join("bots/Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip1"])
        .current_dir(&project)
        .env("RUSTC", rustc.trim())
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .env_remove("RUSTFLAGS")
        .status()
        .unwrap();
    assert!(status.success());
    directory.join("target/wasm32-wasip1/release/ordinary.wasm")
}

fn order(data: Value) -> TrialEvent {
    TrialEvent {
        event_type: "test.order.v1".to_owned(),
        topic: None,
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        subject: None,
        data: serde_json::from_value(data).unwrap(),
        attempt: 0,
    }
}

#[tokio::test]
#[ignore = "builds a standard library from Debian's source, and a bot with it: minutes"]
async fn a_rust_bot_that_uses_its_standard_library_over_wasi_is_loaded_as_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let spec = BotSpec::new(BotSource::File(built(directory.path())));
    let inspector = Inspector::new(directory.path().join("compiled")).unwrap();
    let trial = Trial::load(&inspector, &spec).await.unwrap();

    let report = trial.handle(order(json!({}))).await.unwrap();
    assert_eq!(report.outcome, TrialOutcome::Done);
    let lines: Vec<_> = report.log.iter().map(|line| (line.level, line.line.as_str())).collect();
    let expected = [
        (Level::Info, "describing at 946684800"),
        (Level::Info, "printed: ünïcödé"),
        (Level::Warn, "a warning"),
        (Level::Info, "no end"),
    ];
    assert_eq!(lines, expected);
    let data = &report.published[0].data;
    assert!(data["now"].as_u64().unwrap() > 1_700_000_000, "{data:?}");
    assert!(data["slept"].as_f64().unwrap() >= 0.05, "{data:?}");
    assert!(data["read"].as_str().is_some(), "{data:?}");
    assert_eq!((&data["environment"], &data["arguments"]), (&json!(0), &json!(0)));
    // A repeated attempt draws the same number.
    let again = trial.handle(order(json!({}))).await.unwrap();
    assert_eq!(again.published[0].data["number"], data["number"]);

    match trial.handle(order(json!({ "do": "fail" }))).await.unwrap().outcome {
        TrialOutcome::Fault(Fault::Trap(text)) => assert!(
            text.starts_with("src/lib.rs:") && text.ends_with(": told to fail"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
}
