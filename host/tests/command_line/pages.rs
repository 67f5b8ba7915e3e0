//! The pages of the documentation, and the book that is made of them.

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
