//! The rule, by a table and by properties.

use proptest::prelude::*;

use super::*;

const OURS: &str = "https://example.org/hello.git";
const THEIRS: &str = "https://example.org/evil.git";

fn claimed(binary: &str, source: &str) -> Claimed {
    Claimed {
        package: binary.to_owned(),
        source: source.to_owned(),
        mark: None,
    }
}

fn claim(repository: &str, binaries: &[(&str, &str)]) -> Claim {
    Claim {
        repository: repository.to_owned(),
        sources: binaries.iter().map(|(_, source)| (*source).to_owned()).collect(),
        binaries: binaries
            .iter()
            .map(|(binary, source)| claimed(binary, source))
            .collect(),
    }
}

fn held(package: &str, source: &str, is_essential: bool) -> Held {
    Held {
        package: package.to_owned(),
        source: source.to_owned(),
        is_essential,
    }
}

fn hello() -> Names {
    let mut names = Names::default();
    names
        .admit(&claim(OURS, &[("hello", "hello"), ("libhello1", "hello")]))
        .unwrap();
    names
}

/// What is refused of a build that comes after hello.
fn refused(repository: &str, binaries: &[(&str, &str)]) -> Vec<String> {
    let mut names = hello();
    let before = names.clone();
    match names.admit(&claim(repository, binaries)) {
        Ok(()) => Vec::new(),
        Err(refusals) => {
            assert_eq!(names, before, "a refused build takes no names");
            let name = |refusal: &Refusal| match refusal {
                Refusal::Source { source, .. } => format!("source {source}"),
                Refusal::Binary { binary, .. } => format!("binary {binary}"),
                Refusal::Essential { binary, .. } => format!("essential {binary}"),
            };
            refusals.iter().map(name).collect()
        }
    }
}

#[test]
fn the_first_to_come_is_kept() {
    let nothing: [&str; 0] = [];
    for (repository, binaries, expected) in [
        (OURS, &[("hello", "hello")][..], &nothing[..]),
        (OURS, &[("hello-doc", "hello")], &nothing),
        (THEIRS, &[("evil", "evil")], &nothing),
        (THEIRS, &[("hello", "hello")], &["source hello"]),
        (THEIRS, &[("evil", "hello")], &["source hello"]),
        (THEIRS, &[("hello", "evil")], &["binary hello"]),
        (
            THEIRS,
            &[("evil", "evil"), ("libhello1", "evil")],
            &["binary libhello1"],
        ),
        (
            THEIRS,
            &[("hello", "evil"), ("hello2", "hello")],
            &["source hello", "binary hello"],
        ),
        // Debug symbols go with their package.
        (OURS, &[("hello-dbgsym", "hello")], &nothing),
        (THEIRS, &[("hello-dbgsym", "evil")], &["binary hello"]),
        // A package moves between sources of one repository.
        (OURS, &[("libhello1", "libhello")], &nothing),
    ] {
        assert_eq!(
            refused(repository, binaries),
            expected,
            "{repository} with {binaries:?}"
        );
    }
}

#[test]
fn a_package_that_moved_may_come_from_either_source_of_its_repository() {
    let mut names = hello();
    names.admit(&claim(OURS, &[("libhello1", "libhello")])).unwrap();
    names.admit(&claim(OURS, &[("libhello1", "hello")])).unwrap();
    assert!(names.admit(&claim(THEIRS, &[("libhello1", "evil")])).is_err());
}

#[test]
fn what_is_marked_essential_is_refused_until_it_is_allowed() {
    let mut names = hello();
    let mut marked = claim(OURS, &[("hello", "hello"), ("hello-extra", "hello")]);
    marked.binaries[1].mark = Some("Protected");
    let refusal = Refusal::Essential {
        binary: "hello-extra".to_owned(),
        field: "Protected",
    };
    assert_eq!(names.admit(&marked), Err(vec![refusal]));
    assert!(names.allow_essential("hello-extra", true));
    assert_eq!(names.admit(&marked), Ok(()));
    assert!(!names.allow_essential("hello-extra", true), "it is so already");
    assert!(names.allow_essential("hello-extra", false));
    assert!(names.admit(&marked).is_err());
}

#[test]
fn what_an_archive_held_counts_where_nothing_is_recorded() {
    let mut names = Names::default();
    names.remember(&[
        held("base", "base-files", true),
        held("tool", "old-tool", false),
        held("tool", "tool", false),
    ]);
    let mut marked = claim(OURS, &[("base", "base-files")]);
    marked.binaries[0].mark = Some("Essential");
    assert_eq!(names.admit(&marked), Ok(()));
    // Nobody knows whose the source was: it is the next one's that publishes it, and the package stays with it.
    assert!(names.clone().admit(&claim(THEIRS, &[("tool", "evil")])).is_err());
    names.admit(&claim(OURS, &[("tool", "old-tool")])).unwrap();
    assert!(names.clone().admit(&claim(THEIRS, &[("tool", "old-tool")])).is_err());
    // What is recorded counts for more than what some index has.
    names.remember(&[held("tool", "evil", true)]);
    assert!(names.admit(&claim(THEIRS, &[("tool", "evil")])).is_err());
}

#[test]
fn what_is_allowed_can_be_forbidden_again() {
    let mut names = hello();
    assert!(names.allow_source("hello", THEIRS) && !names.allow_source("hello", THEIRS));
    names.admit(&claim(THEIRS, &[("hello", "hello")])).unwrap();
    names.admit(&claim(OURS, &[("hello", "hello")])).unwrap();
    assert!(names.forbid_source("hello", THEIRS) && !names.forbid_source("hello", THEIRS));
    assert!(names.admit(&claim(THEIRS, &[("hello", "hello")])).is_err());
    assert!(names.allow_binary("hello-dbgsym", "evil"), "by the name of its package");
    names.admit(&claim(THEIRS, &[("hello", "evil")])).unwrap();
    assert!(names.forbid_binary("hello", "evil"));
    assert!(names.admit(&claim(THEIRS, &[("hello", "evil")])).is_err());
}

/// What an operator does.
type Change = fn(&mut Names);

#[test]
fn what_was_moved_by_leave_is_taken_back_with_the_leave() {
    // A source, and then a binary package, that another repository may provide for a while.
    let leaves: [(Change, Change); 2] = [
        (
            |names| assert!(names.allow_source("hello", THEIRS)),
            |names| assert!(names.forbid_source("hello", THEIRS)),
        ),
        (
            |names| assert!(names.allow_binary("hello", "evil")),
            |names| assert!(names.forbid_binary("hello", "evil")),
        ),
    ];
    for (allow, forbid) in leaves {
        let mut names = hello();
        let before = names.binaries()["hello"].clone();
        names.admit(&claim(THEIRS, &[("evil", "evil")])).unwrap();
        allow(&mut names);
        names
            .admit(&claim(THEIRS, &[("hello", "evil"), ("evil", "evil2")]))
            .unwrap();
        names.admit(&claim(THEIRS, &[("hello", "evil2")])).unwrap();
        names.admit(&claim(OURS, &[("hello", "hello2")])).unwrap();
        forbid(&mut names);
        assert_eq!(names.binaries()["hello"], before);
        for source in ["evil", "evil2"] {
            assert!(
                names.clone().admit(&claim(THEIRS, &[("hello", source)])).is_err(),
                "{source}"
            );
        }
        names.admit(&claim(OURS, &[("hello", "hello2")])).unwrap();
    }
}

#[test]
fn a_name_that_came_by_leave_goes_with_it_unless_others_have_it_or_an_operator_decided_it() {
    let mut names = hello();
    names.allow_source("hello", THEIRS);
    for name in ["extra", "both", "decided"] {
        names.admit(&claim(THEIRS, &[(name, "hello")])).unwrap();
        assert!(
            names.clone().admit(&claim("other", &[(name, "other")])).is_err(),
            "{name}"
        );
    }
    names
        .admit(&claim(OURS, &[("both", "hello"), ("ours", "hello")]))
        .unwrap();
    names.allow_binary("decided", "hello");
    names.forbid_source("hello", THEIRS);
    let kept: Vec<_> = names.binaries().keys().map(String::as_str).collect();
    assert_eq!(kept, ["both", "decided", "hello", "libhello1", "ours"]);
}

#[test]
fn a_source_that_is_renamed_keeps_its_packages_and_its_old_name() {
    let mut names = hello();
    names
        .admit(&claim(OURS, &[("hello", "greeter"), ("libhello1", "greeter")]))
        .unwrap();
    for source in ["hello", "greeter"] {
        assert!(
            names.clone().admit(&claim(THEIRS, &[("new", source)])).is_err(),
            "{source}"
        );
    }
    assert!(names.admit(&claim(THEIRS, &[("libhello1", "evil")])).is_err());
}

fn builds() -> impl Strategy<Value = Vec<(usize, Vec<(usize, usize)>)>> {
    let packages = prop::collection::vec((0..4usize, 0..3usize), 1..4);
    prop::collection::vec((0..3usize, packages), 0..20)
}

/// A build of a repository with binary packages and their sources, all by numbers.
fn numbered(repository: usize, packages: &[(usize, usize)]) -> Claim {
    let packages: Vec<_> = packages
        .iter()
        .map(|(binary, source)| (format!("b{binary}"), format!("s{source}")))
        .collect();
    let packages: Vec<_> = packages
        .iter()
        .map(|(binary, source)| (binary.as_str(), source.as_str()))
        .collect();
    claim(&format!("r{repository}"), &packages)
}

proptest! {
    #[test]
    fn no_name_is_ever_provided_by_two_repositories_unless_an_operator_says_so(builds in builds()) {
        let mut names = Names::default();
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        let mut binaries: BTreeMap<String, usize> = BTreeMap::new();
        for (repository, packages) in builds {
            let build = numbered(repository, &packages);
            let is_free = |owners: &BTreeMap<String, usize>, name: &str| owners.get(name).is_none_or(|owner| *owner == repository);
            let expected = build.sources.iter().all(|source| is_free(&sources, source))
                && build.binaries.iter().all(|binary| is_free(&binaries, &binary.package));
            let admitted = names.admit(&build).is_ok();
            prop_assert_eq!(admitted, expected, "{:?}", build);
            if admitted {
                sources.extend(build.sources.into_iter().map(|source| (source, repository)));
                binaries.extend(build.binaries.into_iter().map(|binary| (binary.package, repository)));
            }
        }
    }
    #[test]
    fn nothing_that_one_repository_publishes_changes_what_anothers_names_may_do(
        before in builds(),
        held in prop::collection::vec((0..4usize, 0..3usize), 0..4),
        by_one in prop::collection::vec(prop::collection::vec((0..6usize, 0..5usize), 1..4), 0..20),
    ) {
        let mut names = Names::default();
        let held: Vec<_> = held.iter().map(|(binary, source)| self::held(&format!("b{binary}"), &format!("s{source}"), false)).collect();
        names.remember(&held);
        for (repository, packages) in before {
            let _ = names.admit(&numbered(repository, &packages));
        }
        let then = names.clone();
        for packages in by_one {
            let _ = names.admit(&numbered(0, &packages));
        }
        let is_foreign = |source: &String| then.sources.get(source).is_some_and(|providers| !providers.contains("r0"));
        for (source, providers) in then.sources.iter().filter(|(source, _)| is_foreign(source)) {
            prop_assert_eq!(names.sources.get(source), Some(providers));
        }
        for (binary, provided) in &then.binaries {
            if !provided.sources.is_empty() && provided.sources.iter().all(is_foreign) {
                prop_assert_eq!(names.binaries.get(binary), Some(provided));
                for source in 0..5 {
                    let theirs = Claim { binaries: vec![claimed(binary, &format!("s{source}"))], ..numbered(0, &[(0, source)]) };
                    prop_assert!(names.clone().admit(&theirs).is_err(), "{:?}", theirs);
                }
            }
        }
    }

    #[test]
    fn a_leave_that_is_taken_back_leaves_nothing_of_what_was_published_by_it(
        before in builds(),
        (source, binary) in (0..3usize, 0..4usize),
        by_leave in prop::collection::vec(prop::collection::vec((0..7usize, 0..6usize), 1..4), 0..20),
    ) {
        let mut names = Names::default();
        for (repository, packages) in before {
            let _ = names.admit(&numbered(repository % 2 + 1, &packages));
        }
        let then = names.clone();
        let (source, binary) = (format!("s{source}"), format!("b{binary}"));
        let with_source = then.sources.contains_key(&source) && names.allow_source(&source, "r0");
        let with_binary = then.binaries.contains_key(&binary) && names.allow_binary(&binary, "s9");
        for packages in by_leave {
            let _ = names.admit(&numbered(0, &packages));
            let _ = names.admit(&Claim { binaries: vec![claimed(&binary, "s9")], ..numbered(0, &[(0, 9)]) });
        }
        if with_source {
            names.forbid_source(&source, "r0");
        }
        if with_binary {
            names.forbid_binary(&binary, "s9");
        }
        for (name, provided) in &then.binaries {
            prop_assert_eq!(names.binaries.get(name), Some(provided));
        }
        for (name, providers) in &then.sources {
            prop_assert_eq!(names.sources.get(name), Some(providers));
        }
        // What is new is of sources that the repository has without leave.
        let own = BTreeSet::from(["r0".to_owned()]);
        for (name, provided) in names.binaries.iter().filter(|(name, _)| !then.binaries.contains_key(*name)) {
            for source in &provided.sources {
                prop_assert_eq!(names.sources.get(source), Some(&own), "{} of {}", name, source);
            }
        }
    }
}
