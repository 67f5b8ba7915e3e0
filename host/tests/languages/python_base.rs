//! Python bots are read into an interpreter that was started before: see ADR 11.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use foundry_host::capability::Level;
use foundry_host::runtime::wasi_offer;
use foundry_host::supervisor::{BotSource, BotSpec, Inspector, Trial, TrialEvent, TrialOutcome};
use foundry_host::toolkit::{self, BuildError, Language, Tools};
use serde_json::json;

use super::conformer;

/// A bot of two modules, and a componentize-py that counts how often it is called.
struct Project {
    directory: tempfile::TempDir,
    tools: Tools,
}

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let real = conformer::places(Language::Python)
            .into_iter()
            .map(|place| place.join("bin/componentize-py"))
            .find(|program| program.is_file())
            .unwrap();
        let counting = directory.path().join("bin/componentize-py");
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>'{}'\nexec '{}' \"$@\"\n",
            directory.path().join("calls").display(),
            real.display()
        );
        std::fs::write(&counting, script).unwrap();
        std::fs::set_permissions(&counting, std::fs::Permissions::from_mode(0o755)).unwrap();
        toolkit::create(Language::Python, "speaker", &directory.path().join("speaker")).unwrap();
        let tools = Tools::at([directory.path().to_owned()]).keeping(directory.path());
        let project = Self { directory, tools };
        project.write(
            "bot.py",
            "import json\n\ntry:\n    import ujson\nexcept ImportError:\n    pass\n\nfrom foundry_sdk import Bot, Description, export, publish\nfrom words import greeting\n\n\n\
             class Speaker(Bot):\n    description = Description('speaker', '1', 'speaks').reads('orders', group='s').publishes('words')\n\n    \
             def handle(self, message):\n        publish(json.loads(greeting.TEXT), type='test.word.v1', topic='words')\n\n\n\
             WitWorld = export(Speaker)\n",
        );
        project
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("speaker")
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn build(&self) -> Result<PathBuf, BuildError> {
        toolkit::build(&self.path(), &self.tools).map(|built| built.component)
    }

    /// How often componentize-py was called.
    fn calls(&self) -> usize {
        let calls = std::fs::read_to_string(self.directory.path().join("calls")).unwrap();
        calls.lines().count()
    }

    /// What the bot says.
    async fn said(&self, component: &Path) -> String {
        let inspector = Inspector::new(self.directory.path().join("compiled")).unwrap();
        let source = BotSource::File(component.to_owned());
        let (info, _) = inspector.inspect(&source).await.unwrap();
        // `exports` is componentize-py's own, in every component that it makes.
        assert_eq!(info.exports, ["configure", "describe", "exports", "handle", "tick"]);
        assert!(
            info.imports
                .iter()
                .all(|import| import.starts_with("foundry:bot/") || wasi_offer(import).is_some()),
            "{:?}",
            info.imports
        );
        let trial = Trial::load(&inspector, &BotSpec::new(source)).await.unwrap();
        let order = TrialEvent {
            event_type: "test.order.v1".to_owned(),
            topic: None,
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            subject: None,
            data: serde_json::from_value(json!({})).unwrap(),
            attempt: 0,
        };
        let report = trial.handle(order).await.unwrap();
        assert_eq!(report.outcome, TrialOutcome::Done, "{:?}", report.log);
        report.published[0].data["text"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_python_bot_is_read_into_an_interpreter_that_was_started_before() {
    let project = Project::new();
    project.write("words/greeting.py", "TEXT = '{\"text\": \"hello\"}'\n");
    let component = project.build().unwrap();
    assert_eq!(project.calls(), 1, "the base");
    let first = std::fs::read(&component).unwrap();
    assert_eq!(project.said(&component).await, "hello");

    project.write("words/greeting.py", "TEXT = '{\"text\": \"good evening\"}'\n");
    let component = project.build().unwrap();
    assert_eq!(project.calls(), 1);
    assert_eq!(project.said(&component).await, "good evening");

    // The same sources give the same component, whatever was built before.
    project.write("words/greeting.py", "TEXT = '{\"text\": \"hello\"}'\n");
    let component = project.build().unwrap();
    assert!(std::fs::read(&component).unwrap() == first);

    project.write("words/greeting.py", "x = 1\nTEXT = 1 / 0\n");
    let error = project.build().unwrap_err();
    assert!(
        matches!(&error, BuildError::Code { bot, .. } if bot == "speaker"),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("words/greeting.py\", line 2, in <module>\n    TEXT = 1 / 0\nZeroDivisionError"),
        "{text}"
    );
    project.write("words/greeting.py", "def f(:\n");
    let text = project.build().unwrap_err().to_string();
    assert!(text.contains("SyntaxError") && text.contains("greeting.py"), "{text}");
    assert_eq!(project.calls(), 1);
    // The last good one is still there.
    assert!(std::fs::read(&component).unwrap() == first);

    // What the modules print while they are read is told, and is not in the way of what they print later.
    project.write(
        "words/greeting.py",
        "import sys\n\nprint('reading', 1)\nprint('no end', end='', file=sys.stderr)\nTEXT = '{\"text\": \"hello\"}'\n",
    );
    let built = toolkit::build(&project.path(), &project.tools).unwrap();
    let said: Vec<_> = built.said.iter().map(|said| (said.level, said.line.as_str())).collect();
    assert_eq!(said, [(Level::Info, "reading 1"), (Level::Warn, "no end")]);
    assert_eq!(project.said(&built.component).await, "hello");
}

#[tokio::test]
async fn a_python_bot_that_reads_files_while_it_is_imported_is_built_without_a_base() {
    let project = Project::new();
    project.write(
        "words/greeting.py",
        "from pathlib import Path\n\nTEXT = (Path(__file__).parent / 'greeting.json').read_text()\n",
    );
    project.write("words/greeting.json", "{\"text\": \"from a file\"}");
    let component = project.build().unwrap();
    assert_eq!(project.calls(), 2, "the base, and the bot");
    assert_eq!(project.said(&component).await, "from a file");
}
