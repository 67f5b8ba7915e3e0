//! The pages of the documentation, and the book that is made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::home::Home;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_option_of_a_stock_bot_is_on_its_page() {
    let home = Home::bare();
    for (bot, page) in [
        ("watchbot", "watching.md"),
        ("buildbot", "package-builds.md"),
        ("signbot", "signing.md"),
        ("distbot", "repositories.md"),
    ] {
        let text = std::fs::read_to_string(repository().join("docs").join(page)).unwrap();
        let description = home.json(&["inspect", bot]);
        let name = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let mut options: Vec<String> = Vec::new();
        for (list, field) in [("options", "name"), ("reads", "option"), ("publishes", "option")] {
            let listed = description[list].as_array().unwrap();
            options.extend(listed.iter().map(|option| name(&option[field]).unwrap()));
        }
        if !description["reads"].as_array().unwrap().is_empty() {
            options.push("endpoint".to_owned());
        }
        assert!(options.len() > 3, "{bot}: {options:?}");
        for option in options {
            // In a table of options: `--name` or `--name VALUE`, at the beginning of a row or after another option.
            let rows = text.lines().filter(|line| line.starts_with("| `--"));
            let found = rows.flat_map(|row| row.split('|').nth(1)).any(|names| {
                let mut words = names.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                words.any(|word| word == format!("--{option}"))
            });
            assert!(found, "docs/{page} has no row for {bot}'s --{option}");
        }
    }
}

/// The command lines of a page: in its code blocks, and between backquotes.
fn command_lines(page: &str) -> Vec<String> {
    let text = page.replace("\\\n", " ");
    let mut lines = Vec::new();
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 1 {
            lines.extend(part.lines().map(str::to_owned));
        } else {
            lines.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let commands = lines.iter().flat_map(|line| {
        let line = line.split(" #").next().unwrap_or_default();
        line.split(['|', ';', '(']).flat_map(|part| part.split("&&"))
    });
    commands.map(|command| command.trim().to_owned()).collect()
}

/// What asks for the help of a command, and whether all of its options are known; none if it is not one of the program's.
fn help_of<'c>(words: &[&'c str]) -> Option<(Vec<&'c str>, bool)> {
    const BOTS: [&str; 4] = ["watchbot", "buildbot", "signbot", "distbot"];
    const WITH_VERBS: [&str; 4] = ["key", "repo", "dead-letters", "groups"];
    let is_verb = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    match words {
        [bot, option, ..] if BOTS.contains(bot) && option.starts_with("--") => Some((vec!["load", bot], true)),
        ["foundry-host", "load" | "test", rest @ ..] => {
            let verb = words[1];
            match rest.iter().find(|word| BOTS.contains(word)) {
                Some(bot) if verb == "load" => Some((vec!["load", bot], true)),
                // A component's own options are known to it alone.
                _ => Some((vec![verb], false)),
            }
        }
        ["foundry-host", verb, rest @ ..] if is_verb(&verb) => {
            let second = rest.first().filter(is_verb).filter(|_| WITH_VERBS.contains(verb));
            Some((std::iter::once(*verb).chain(second.copied()).collect(), true))
        }
        _ => None,
    }
}

#[test]
fn every_command_on_a_page_has_a_verb_and_options_that_exist() {
    let home = Home::bare();
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    let docs = std::fs::read_dir(repository().join("docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for page in pages.chain([repository().join("README.md")]) {
        let name = page.file_name().unwrap().to_str().unwrap().to_owned();
        for command in command_lines(&std::fs::read_to_string(&page).unwrap()) {
            let words: Vec<_> = command.split_whitespace().collect();
            let Some((verbs, all_known)) = help_of(&words) else {
                continue;
            };
            let key: Vec<_> = verbs.iter().map(|verb| (*verb).to_owned()).collect();
            let help = helps.entry(key).or_insert_with(|| {
                let said = home.run(&[verbs.as_slice(), &["--help"]].concat());
                if said.code == 0 { said.out } else { String::new() }
            });
            checked += 1;
            if help.is_empty() {
                wrong.push(format!("{name}: there is no such verb: {command}"));
            }
            let options = words.iter().filter(|word| word.starts_with("--") && all_known);
            for option in options {
                let option = option.split('=').next().unwrap_or_default();
                let known = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                if !["--list", "--stop"].contains(&option) && !known.into_iter().any(|known| known == option) {
                    wrong.push(format!("{name}: there is no {option}: {command}"));
                }
            }
        }
    }
    assert!(checked > 100, "only {checked} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(book: &std::path::Path) -> Output {
    Command::new("python3")
        .arg(repository().join("docs/book.py"))
        .arg("check")
        .arg(book)
        .output()
        .unwrap()
}

#[test]
fn a_link_of_the_book_that_leads_nowhere_is_reported() {
    let book = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(book.path().join(name), text).unwrap();
    std::fs::create_dir(book.path().join("adr")).unwrap();
    write(
        "adr/index.html",
        "<h1 id=\"top\">Records</h1> <a href=\"../index.html#words\">back</a>",
    );
    write(
        "index.html",
        "<h2 id=\"words\">Words</h2> <a href=\"adr/index.html#top\">records</a> <a href=\"#words\">words</a> \
         <a href=\"https://example.org/nothing\">elsewhere</a>",
    );
    let whole = check(book.path());
    assert!(whole.status.success(), "{whole:?}");
    for (link, complaint) in [
        ("gone.html", "links to gone.html, which does not exist"),
        ("adr/index.html#gone", "nothing on that page has this id"),
        ("../outside.html", "links to ../outside.html, which does not exist"),
        ("adr", "links to adr, which does not exist"),
    ] {
        write("page.html", &format!("<a href=\"{link}\">there</a>"));
        let checked = check(book.path());
        let said = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(checked.status.code(), Some(1), "{link}: {said}");
        assert!(
            said.starts_with("docs: page.html ") && said.contains(complaint),
            "{said}"
        );
    }
}
