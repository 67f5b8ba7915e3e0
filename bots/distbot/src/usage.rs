//! The options that distbot takes, as the host tells people of them.

use foundry_sdk::{Description, OptionBuilder, OptionKind};

use crate::config::DEFAULT_COMPONENT;

/// The timer that keeps the repository as it should be.
const REFRESH: &str = "refresh";

/// What distbot is and which options it takes.
#[must_use]
pub fn description() -> Description {
    let text = |name: &str, help: &str| OptionBuilder::new(name, OptionKind::Text, help);
    Description::new(
        "distbot",
        env!("CARGO_PKG_VERSION"),
        "publish signed packages in an APT repository",
    )
    .option(text("name", "the repository's name").required().placeholder("NAME"))
    .option(
        OptionBuilder::new(
            "output",
            OptionKind::Site,
            "the repository's directory; made if there is none",
        )
        .required(),
    )
    .option(
        text("arch", "an architecture to serve, such as amd64")
            .required()
            .repeatable()
            .placeholder("ARCH"),
    )
    .option(
        OptionBuilder::new(
            "gpg-key",
            OptionKind::Key,
            "the key that signs the repository's metadata, of the host's store or else of its user's GnuPG ring",
        )
        .required(),
    )
    .option(
        OptionBuilder::new(
            "old-gpg-key",
            OptionKind::Key,
            "a key that signs as well, for clients that don't have the other one yet",
        )
        .repeatable(),
    )
    .option(
        text(
            "packages-key",
            "publish only what this key states to have signed: a key of the host's store or of its user's GnuPG ring; without \
                  this option each key of the store with the role `packages`, and those of the ring that a signbot of this host \
                  signs with",
        )
        .repeatable()
        .placeholder("KEY"),
    )
    .option(
        text("builder", "publish only what this host built; what any host built without this option")
            .repeatable()
            .placeholder("HOST"),
    )
    .option(OptionBuilder::new(
        "allow-unstated",
        OptionKind::Flag,
        "publish also what a signbot of an earlier release signed, which states nothing of it: whoever may publish on the \
              topic can then have anything published",
    ))
    .option(text("description", "one line about the repository").required())
    .option(
        text(
            "codename",
            "where to publish: a branch's packages (* stands for any text), or those of all other branches; \
                  stable without this option",
        )
        .repeatable()
        .placeholder("[BRANCH:]CODENAME"),
    )
    .option(
        text("component", "the component to publish in")
            .default(DEFAULT_COMPONENT)
            .placeholder("NAME"),
    )
    .option(
        text(
            "debug-component",
            "the component to publish debug symbols (-dbgsym) in; that of their program without this option",
        )
        .placeholder("NAME"),
    )
    .option(
        text(
            "url",
            "where clients find the repository, such as https://deb.example.org/, for its page, which has a placeholder \
                  without this option",
        )
        .placeholder("URL"),
    )
    .option(text(
        "origin",
        "Origin in the repository's metadata; its name without this option",
    ))
    .option(text(
        "label",
        "Label in the repository's metadata; its name without this option",
    ))
    .option(
        text(
            "suite",
            "Suite in the repository's metadata; the codename without this option",
        )
        .placeholder("NAME"),
    )
    .option(OptionBuilder::new(
        "valid-for",
        OptionKind::Duration,
        "have clients refuse metadata that is older, such as 14d; it is signed anew when half of the time is over",
    ))
    .option(
        text(
            "keep",
            "how many versions of a package a suite keeps when a new one is published; 1 with --keep-days, all without it",
        )
        .placeholder("NUMBER"),
    )
    .option(
        text(
            "keep-days",
            "for how many days a suite keeps more versions than --keep says",
        )
        .placeholder("DAYS"),
    )
    .option(
        text(
            "superseded-limit",
            "how many bytes of superseded indices stay for clients that are slow, such as 512MiB; those of the last two \
                  minutes stay in any case, and none for more than an hour",
        )
        .default("1GiB")
        .placeholder("BYTES"),
    )
    .option(
        text(
            "contents",
            "whether to publish lists of the packages' files, as apt-file reads them: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "split-descriptions",
            "whether to publish the packages' long descriptions apart from the indices, in Translation-en: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "xz",
            "whether to publish indices compressed with xz as well as with gzip and zstd: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        text(
            "sha512",
            "whether to list SHA-512 beside SHA-256, of indices and of packages that are published from then on: yes, or no",
        )
        .default("no")
        .placeholder("YES|NO"),
    )
    .option(
        OptionBuilder::new(
            REFRESH,
            OptionKind::Duration,
            "how often to see that the repository is there and its metadata fresh",
        )
        .default("1h"),
    )
    .timer(REFRESH, REFRESH)
    .reads("watch", "signs", "pub/distbot")
    .publishes("publish-to", "dists")
    .message_timeout(1800)
}
