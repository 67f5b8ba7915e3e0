//! Every kind of source package builds.

use std::fs;

use super::super::{ArtifactKind, Backend, BuildError, BuildKind, OverlayFile, Phase};
use super::fixture::{Sample, artifact, in_deb, names, rules};

const ARCH: &str = "amd64";

#[test]
fn a_c_program_with_debhelper_is_built() {
    let sample = Sample::new(
        "hello-foundry",
        "2.10",
        "3.0 (native)",
        "#!/usr/bin/make -f\n%:\n\tdh $@\n",
    );
    sample.control("Build-Depends: debhelper-compat (= 13)");
    sample.file(
        "hello.c",
        "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n",
    );
    sample.file(
        "Makefile",
        "all: hello-foundry\nhello-foundry: hello.c\n\t$(CC) $(CFLAGS) -g $(LDFLAGS) -o $@ $<\ninstall:\n\tinstall -D hello-foundry $(DESTDIR)/usr/bin/hello-foundry\n",
    );
    let report = sample.build().unwrap();
    assert_eq!(
        (report.source.as_str(), report.version.as_str()),
        ("hello-foundry", "2.10")
    );
    assert_eq!(report.backend, Backend::HostRoot);
    assert_eq!(
        names(&report),
        [
            format!("hello-foundry-dbgsym_2.10_{ARCH}.deb"),
            "hello-foundry_2.10.dsc".to_owned(),
            "hello-foundry_2.10.tar.xz".to_owned(),
            format!("hello-foundry_2.10_{ARCH}.buildinfo"),
            format!("hello-foundry_2.10_{ARCH}.changes"),
            format!("hello-foundry_2.10_{ARCH}.deb"),
        ]
    );
    assert_eq!(report.architectures, ["source", ARCH]);
    let phases: Vec<Phase> = report.phases.iter().map(|time| time.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Prepare,
            Phase::Dependencies,
            Phase::Source,
            Phase::Build,
            Phase::Collect
        ]
    );
    let log = sample.log();
    assert!(log.contains("==> build\n") && log.contains("dh_auto_build"), "{log}");
}

#[test]
fn quilt_without_an_upstream_tarball_gets_one() {
    let sample = Sample::new("demo", "1:2.0~rc1-3", "3.0 (quilt)", &rules(""));
    sample.file("upstream.c", "int x;\n");
    let report = sample.build().unwrap();
    assert_eq!(
        names(&report),
        [
            "demo_2.0~rc1-3.debian.tar.xz",
            "demo_2.0~rc1-3.dsc",
            "demo_2.0~rc1-3_amd64.buildinfo",
            "demo_2.0~rc1-3_amd64.changes",
            "demo_2.0~rc1-3_amd64.deb",
            "demo_2.0~rc1.orig.tar.xz",
        ]
    );
    assert_eq!(report.version, "1:2.0~rc1-3");
}

#[test]
fn the_next_revision_comes_with_the_same_upstream_tarball() {
    let digest = |version: &str, extra: bool| {
        let mut sample = Sample::new("demo", version, "3.0 (quilt)", &rules(""));
        sample.kind = BuildKind::Source;
        sample.file("b/script", "#!/bin/sh\n");
        sample.executable("b/script");
        sample.file("a", "text\n");
        std::os::unix::fs::symlink("../a", sample.tree().join("b/link")).unwrap();
        if extra {
            sample.file("debian/NEWS", "more\n");
        }
        let report = sample.build().unwrap();
        let upstream = report
            .artifacts
            .iter()
            .find(|one| one.name == "demo_3.1.orig.tar.xz")
            .unwrap()
            .clone();
        let listing = std::process::Command::new("tar")
            .arg("-tvJf")
            .arg(&upstream.path)
            .output()
            .unwrap();
        (upstream.sha256, String::from_utf8(listing.stdout).unwrap())
    };
    let ((first, listing), (second, _)) = (digest("3.1-1", false), digest("3.1-2", true));
    assert_eq!(first, second);
    assert!(
        listing.contains("-rwxr-xr-x root/root        10 2000-01-01 00:00 demo-3.1/b/script"),
        "{listing}"
    );
    assert!(listing.contains("demo-3.1/b/link -> ../a"), "{listing}");
    assert!(!listing.contains("debian"), "{listing}");
}

/// What dpkg-source says about a tree of a file `a` with one patch, whose new content is `text` in the tree.
fn build_with_patch(text: &str) -> (String, String) {
    let mut sample = Sample::new("demo", "1.0-1", "3.0 (quilt)", &rules("@cat a"));
    sample.kind = BuildKind::Full;
    sample.file("a", text);
    sample.file("debian/patches/series", "# one\nchange.patch\n");
    sample.file(
        "debian/patches/change.patch",
        "Description: a change\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-old\n+new\n",
    );
    let report = sample.build().unwrap();
    let upstream = report.artifacts.iter().find(|one| one.name.contains(".orig.")).unwrap();
    let content = std::process::Command::new("tar")
        .arg("-xOJf")
        .arg(&upstream.path)
        .arg("demo-1.0/a")
        .output()
        .unwrap();
    (String::from_utf8(content.stdout).unwrap(), sample.log())
}

#[test]
fn patches_are_no_part_of_upstream_whether_the_tree_has_them_applied_or_not() {
    for in_tree in ["old\n", "new\n"] {
        let (upstream, log) = build_with_patch(in_tree);
        assert_eq!(upstream, "old\n");
        assert!(log.contains("\nnew\n"), "{log}");
    }
}

#[test]
fn an_upstream_tarball_of_the_callers_is_used() {
    let sample = Sample::new("demo", "1.0-1", "3.0 (quilt)", &rules(""));
    sample.file("a", "text\n");
    let tarball = sample.output().join("demo_1.0.orig.tar.gz");
    let made = std::process::Command::new("tar")
        .args([
            "-czf",
            tarball.to_str().unwrap(),
            "--transform",
            "s,^tree,upstream-1.0,",
            "--exclude=debian",
            "tree",
        ])
        .current_dir(sample.tree().parent().unwrap())
        .status()
        .unwrap();
    assert!(made.success());
    let mut request = sample.request();
    request.upstream = vec![tarball.clone()];
    let given = fs::read(&tarball).unwrap();
    let report = sample.build_with(request, Default::default()).unwrap();
    let used = report
        .artifacts
        .iter()
        .find(|one| one.kind == ArtifactKind::Source && one.name.contains(".orig."))
        .unwrap();
    assert_eq!(fs::read(&used.path).unwrap(), given);
}

#[test]
fn format_one_is_built() {
    let sample = Sample::new("demo", "1.0", "1.0", &rules(""));
    let report = sample.build().unwrap();
    assert!(names(&report).contains(&"demo_1.0.tar.gz"), "{:?}", names(&report));
}

#[test]
fn each_kind_makes_its_own() {
    let build = |kind| {
        let mut sample = Sample::running("");
        sample.kind = kind;
        let report = sample.build().unwrap();
        names(&report).join(" ")
    };
    assert_eq!(
        build(BuildKind::Source),
        "demo_1.0.dsc demo_1.0.tar.xz demo_1.0_source.buildinfo demo_1.0_source.changes"
    );
    for kind in [BuildKind::Binary, BuildKind::Any] {
        assert_eq!(
            build(kind),
            "demo_1.0_amd64.buildinfo demo_1.0_amd64.changes demo_1.0_amd64.deb"
        );
    }
}

#[test]
fn a_changelog_put_over_the_trees_decides_the_version() {
    let sample = Sample::running("");
    let mut request = sample.request();
    let text = fs::read_to_string(sample.tree().join("debian/changelog")).unwrap();
    request.files = vec![OverlayFile {
        path: "debian/changelog".into(),
        content: text.replace("(1.0)", "(1.0+git7)").into_bytes(),
    }];
    let report = sample.build_with(request, Default::default()).unwrap();
    assert_eq!(report.version, "1.0+git7");
    assert_eq!(
        fs::read_to_string(sample.tree().join("debian/changelog")).unwrap(),
        text
    );
}

#[test]
fn the_callers_epoch_reaches_the_build() {
    let sample = Sample::running("");
    let mut request = sample.request();
    request.source_date_epoch = Some(1_000_000_000);
    let report = sample.build_with(request, Default::default()).unwrap();
    let deb = &artifact(&report, ArtifactKind::Deb).path;
    assert_eq!(in_deb(deb, "./usr/share/demo/date"), "Sun Sep  9 01:46:40 UTC 2001\n");
}

#[test]
fn a_failure_carries_the_end_of_the_log() {
    let sample = Sample::running("@echo this is why; exit 7");
    match sample.build().unwrap_err() {
        BuildError::Failed { phase, tail, .. } => {
            assert_eq!(phase, Phase::Build);
            assert!(tail.lines.iter().any(|line| line == "this is why"), "{:?}", tail.lines);
            assert_eq!(tail.path, sample.output().join("build.log"));
        }
        other => unreachable!("{other}"),
    }
}
