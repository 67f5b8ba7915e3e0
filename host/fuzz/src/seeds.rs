//! What a fuzzer begins with: whole grants and answers.

use std::path::Path;

const PATTERNS: &[&str] = &[
    "https://*.example.org/debian/*\nhttps://a.example.org/debian/pool",
    "https://example.org\nhttps://example.org/x?y=z",
    "http://127.0.0.1:8080/a*b\nhttp://127.1:8080/a/b",
    "http://[::1]:80/*\nhttp://[0:0::1]/",
    "https://*/team/*.git\nhttps://EXAMPLE.org/team/..%2fx.git",
    "ssh://git@example.org/~/x\nssh://git@example.org/~/x",
    "git@example.org:team/*\ngit://example.org/x",
    "/srv/git/*\nfile:///srv/git/x",
    "*\nhttps://b\u{fc}cher.example/",
];

const GRANTS: &[&str] = &[
    "reports/+/new\nreports/a/new",
    "reports/#\nreports",
    "#\npeers/a",
    "commits@pub/+\ncommits",
    "signs:foundry.sign.v1\nsigns",
    "*@example.org\njo@Example.ORG",
    "jo+*@*.example.org\njo+x@lists.example.org",
    "*@*\njo@[127.0.0.1]",
];

/// A packet of git: its length in hex, and itself.
fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

fn answers() -> Vec<String> {
    let id = "0123456789abcdef0123456789abcdef01234567";
    let head = packet(&format!("{id} HEAD\0multi_ack symref=HEAD:refs/heads/main\n"));
    let refs = ["refs/heads/main", "refs/tags/v1", "refs/tags/v1^{}"].map(|name| packet(&format!("{id} {name}\n")));
    let smart = format!("{head}{}0000", refs.concat());
    vec![
        format!("{}0000{smart}", packet("# service=git-upload-pack\n")),
        smart,
        format!("{}0000", packet("version 1\n")),
        packet("ERR no such repository\n"),
        format!("{id}\trefs/heads/main\n{id}\trefs/tags/v1\n{id}\trefs/tags/v1^{{}}\n"),
    ]
}

/// Writes a fuzz target's first inputs into the directory that `FOUNDRY_FUZZ_CORPUS` names, if it names one.
pub fn sow(target: &str) {
    let Some(directory) = std::env::var_os("FOUNDRY_FUZZ_CORPUS") else {
        return;
    };
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let seeds: Vec<String> = match target {
        "patterns" => texts(PATTERNS),
        "grants" => texts(GRANTS),
        _ => answers(),
    };
    for (number, seed) in seeds.iter().enumerate() {
        let file = Path::new(&directory).join(format!("seed-{number:02}"));
        std::fs::write(file, seed).expect("the corpus can be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_inputs_pass() {
        PATTERNS.iter().for_each(|seed| crate::patterns(seed.as_bytes()));
        GRANTS.iter().for_each(|seed| crate::grants(seed.as_bytes()));
        answers().iter().for_each(|seed| crate::advertisement(seed.as_bytes()));
    }
}
