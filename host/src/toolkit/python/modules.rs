//! The modules of a bot's project, and what they import from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::error::{Attempt, BuildError};

/// Directories that hold no modules of the bot's own.
const NOT_OURS: [&str; 3] = ["__pycache__", "node_modules", "venv"];

/// Where componentize-py has the project's directory: tracebacks name files below it.
const PROJECT: &str = "/0";

/// A module of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Such as `greeter.words`.
    pub(super) name: String,
    /// Such as `/0/greeter/words.py`, or `/0/greeter/__init__.py` for a package.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

impl Module {
    fn is_package(&self) -> bool {
        self.path.ends_with("/__init__.py")
    }

    /// The package that relative imports begin at.
    fn package(&self) -> &str {
        if self.is_package() {
            &self.name
        } else {
            parent(&self.name)
        }
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// All modules below a directory, sorted by name, but for those in hidden directories and in these ones. What is no
/// UTF-8 is left out, and left to Python to complain of.
pub(super) fn collect(project: &Path, without: &[&Path]) -> Result<Vec<Module>, BuildError> {
    let mut found = Vec::new();
    let mut directories = vec![(project.to_owned(), String::new())];
    while let Some((directory, package)) = directories.pop() {
        for entry in std::fs::read_dir(&directory).attempt("read", &directory)? {
            let entry = entry.attempt("read", &directory)?;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') || NOT_OURS.contains(&name.as_str()) || without.contains(&path.as_path()) {
                continue;
            }
            let kind = entry.file_type().attempt("read", &path)?;
            if kind.is_dir() {
                directories.push((path, format!("{package}{name}.")));
            } else if let Some(stem) = name.strip_suffix(".py") {
                let module = if stem == "__init__" {
                    package.trim_end_matches('.').to_owned()
                } else {
                    format!("{package}{stem}")
                };
                let bytes = std::fs::read(&path).attempt("read", &path)?;
                if let (false, Ok(text)) = (module.is_empty(), String::from_utf8(bytes)) {
                    let directory = package.replace('.', "/");
                    found.push(Module {
                        name: module,
                        path: format!("{PROJECT}/{directory}{name}"),
                        text,
                    });
                }
            }
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The import statements with which the main module, and those of the project that it imports, name modules of others:
/// one import each, in a spelling of its own, sorted.
///
/// This reads lines, not Python's grammar. A statement too many is harmless, since one that fails is passed over; for one
/// too few the bot is built without a base.
pub(super) fn imported_from_elsewhere(main: &str, modules: &[Module]) -> BTreeSet<String> {
    let own: BTreeMap<_, _> = modules.iter().map(|module| (module.name.as_str(), module)).collect();
    let mut elsewhere = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![main.to_owned()];
    while let Some(name) = waiting.pop() {
        let Some(module) = own.get(name.as_str()) else {
            continue;
        };
        if !seen.insert(name) {
            continue;
        }
        for import in imports(module) {
            let top = import.module.split('.').next().unwrap_or_default();
            if own.contains_key(top) || own.keys().any(|own| own.split('.').next() == Some(top)) {
                waiting.extend(import.modules());
            } else {
                elsewhere.insert(import.to_string());
            }
        }
    }
    elsewhere
}

/// `import module`, or `from module import names`.
struct Import {
    module: String,
    names: Vec<String>,
}

impl Import {
    /// All modules that may be meant: the module, the packages that it is in, and what is imported from it.
    fn modules(&self) -> Vec<String> {
        let packages = self
            .module
            .match_indices('.')
            .map(|(at, _)| self.module[..at].to_owned());
        let names = self.names.iter().map(|name| format!("{}.{name}", self.module));
        packages.chain([self.module.clone()]).chain(names).collect()
    }
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.names.is_empty() {
            write!(f, "import {}", self.module)
        } else {
            write!(f, "from {} import {}", self.module, self.names.join(", "))
        }
    }
}

fn imports(module: &Module) -> Vec<Import> {
    let mut found = Vec::new();
    let mut lines = module.text.lines();
    while let Some(line) = lines.next() {
        let mut statement = without_comment(line).to_owned();
        if !statement.starts_with("import ") && !statement.starts_with("from ") {
            continue;
        }
        // Names in brackets, and lines that a backslash joins.
        while statement.ends_with('\\') || (statement.contains('(') && !statement.contains(')')) {
            let Some(next) = lines.next() else { break };
            statement = format!("{} {}", statement.trim_end_matches('\\'), without_comment(next));
        }
        if let Some(list) = statement.strip_prefix("import ") {
            found.extend(names(list).map(|module| Import {
                module,
                names: Vec::new(),
            }));
        } else if let Some((from, list)) = statement
            .strip_prefix("from ")
            .and_then(|rest| rest.split_once(" import"))
            && let Some(name) = absolute(from.trim(), module.package())
        {
            found.push(Import {
                module: name,
                names: names(list.trim().trim_start_matches('(').trim_end_matches(')')).collect(),
            });
        }
    }
    found
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// `a.b, c as d` to `a.b` and `c`: nothing but what can be a name, since it goes into a module of ours.
fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',')
        .filter_map(|item| item.split_whitespace().next())
        .filter(|name| is_name(name))
        .map(str::to_owned)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// The module that `from` names, as seen from a package.
fn absolute(from: &str, package: &str) -> Option<String> {
    let name = from.trim_start_matches('.');
    let dots = from.len() - name.len();
    if dots == 0 {
        return is_name(name).then(|| name.to_owned());
    }
    let mut base = package;
    for _ in 1..dots {
        base = parent(base);
    }
    let joined = match (base, name) {
        ("", name) => name.to_owned(),
        (base, "") => base.to_owned(),
        (base, name) => format!("{base}.{name}"),
    };
    is_name(&joined).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, path: &str, text: &str) -> Module {
        Module {
            name: name.to_owned(),
            path: format!("{PROJECT}/{path}"),
            text: text.to_owned(),
        }
    }

    #[test]
    fn imports_of_others_are_found_through_the_projects_own_modules() {
        let modules = [
            module(
                "bot",
                "bot.py",
                "import json, os.path as p  # files\nfrom words import greeting\nfrom foundry_sdk import (\n    Bot,  # base\n    log as l,\n)\n\
                 def f():\n    from datetime import \\\n        datetime\n",
            ),
            module("test_bot", "test_bot.py", "import pytest\n"),
            module(
                "words",
                "words/__init__.py",
                "from .german import hello\nfrom . import english\n",
            ),
            module(
                "words.german",
                "words/german.py",
                "from ..bot import x\nimport locale\n",
            ),
            module(
                "words.english",
                "words/english.py",
                "import gettext\nimport words.german\n",
            ),
        ];
        let found: Vec<_> = imported_from_elsewhere("bot", &modules).into_iter().collect();
        assert_eq!(
            found,
            [
                "from datetime import datetime",
                "from foundry_sdk import Bot, log",
                "import gettext",
                "import json",
                "import locale",
                "import os.path",
            ]
        );
    }

    #[test]
    fn nothing_but_names_gets_into_a_statement() {
        let text =
            "import os; import evil\nfrom x import y; print()\nfrom a import (\nimport \"b\"\nfrom ... import c\n";
        let found: Vec<_> = imported_from_elsewhere("bot", &[module("bot", "bot.py", text)])
            .into_iter()
            .collect();
        assert!(found.iter().all(|line| !line.contains([';', '"', '('])), "{found:?}");
    }

    #[test]
    fn modules_are_collected_without_what_is_not_the_bots() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x = 1\n").unwrap();
        };
        for path in [
            "bot.py",
            "a/__init__.py",
            "a/b.py",
            "vendor/sdk.py",
            ".venv/lib/x.py",
            "a/__pycache__/b.py",
        ] {
            write(path);
        }
        let found = collect(directory.path(), &[&directory.path().join("vendor")]).unwrap();
        let names: Vec<_> = found.iter().map(|m| (m.name.as_str(), m.path.as_str())).collect();
        assert_eq!(
            names,
            [("a", "/0/a/__init__.py"), ("a.b", "/0/a/b.py"), ("bot", "/0/bot.py")]
        );
    }
}
