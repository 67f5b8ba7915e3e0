//! What `gpg --with-colons --with-keygrip` prints (GnuPG's doc/DETAILS).

use super::super::fingerprint::Fingerprint;

/// gpg-agent's name of a secret: 40 upper-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Keygrip(String);

impl Keygrip {
    fn parse(text: &str) -> Option<Self> {
        (text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key of the ring: its primary key first, then the subkeys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListedKey {
    pub parts: Vec<ListedPart>,
}

/// A primary key or a subkey.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListedPart {
    pub fingerprint: Option<Fingerprint>,
    pub keygrip: Option<Keygrip>,
}

impl ListedKey {
    /// The primary key's fingerprint.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.parts.first()?.fingerprint
    }
}

/// The keys in a listing. Records of other kinds, and those of newer versions, are skipped.
pub(super) fn parse(listing: &str) -> Vec<ListedKey> {
    let mut keys: Vec<ListedKey> = Vec::new();
    for line in listing.lines() {
        let mut fields = line.split(':');
        let kind = fields.next().unwrap_or_default();
        // Field 10 of `fpr` and `grp`, counted from 1.
        let value = fields.nth(8).unwrap_or_default();
        match kind {
            "pub" | "sec" => keys.push(ListedKey {
                parts: vec![ListedPart::default()],
            }),
            "sub" | "ssb" => {
                if let Some(key) = keys.last_mut() {
                    key.parts.push(ListedPart::default());
                }
            }
            "fpr" | "grp" => {
                let Some(part) = keys.last_mut().and_then(|key| key.parts.last_mut()) else {
                    continue;
                };
                if kind == "fpr" {
                    part.fingerprint = value.parse().ok();
                } else {
                    part.keygrip = Keygrip::parse(value);
                }
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "tru::1:1796041330:0:3:1:5\n\
        sec:u:255:22:A6DDE800ABC6E8EC:1796041330:::u:::scSC:::+::ed25519:::0:\n\
        fpr:::::::::8D8E0033C3009F5D130CD2FCA6DDE800ABC6E8EC:\n\
        grp:::::::::9E62FCFA8A950DC21D8C4DF045C60EC2F3A7F48E:\n\
        uid:u::::1796041330::272E23541126014796E7A99A0381B88E277F022D::fpr\\x3a <a@x.org>::::::::::0:\n\
        ssb:u:2048:1:1FC5D8B27E606ADB:1796041330::::::s:::#:::23:\n\
        fpr:::::::::286C4524B14AE90FC8FD01BC1FC5D8B27E606ADB:\n\
        grp:::::::::9AF85A10A0C8F713A23107E0AA7ED92056B38840:\n\
        new:record\n\
        sec:u:256:19:F6762900ED3A3956:1796041330:::u:::scSC:::D2760001240102010006123456780000::nistp256:::0:\n\
        fpr:::::::::1219F0576F07CA5AD5952BA4F6762900ED3A3956:\n";

    #[test]
    fn keys_and_their_parts_are_told_apart() {
        let keys = parse(LISTING);
        assert_eq!(keys.iter().map(|key| key.parts.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(
            keys[0].fingerprint().unwrap().to_string(),
            "8d8e0033c3009f5d130cd2fca6dde800abc6e8ec"
        );
        let grip = keys[0].parts[1].keygrip.as_ref().unwrap();
        assert_eq!(grip.as_str(), "9AF85A10A0C8F713A23107E0AA7ED92056B38840");
        assert_eq!(keys[1].parts[0].keygrip, None);
    }

    #[test]
    fn a_damaged_listing_gives_what_can_be_read() {
        for listing in [
            "",
            "fpr:::::::::8D8E",
            "sub:\nfpr:\ngrp:\n",
            "pub\nfpr:::::::::zz:\ngrp:::::::::zz:\n",
        ] {
            for key in parse(listing) {
                assert_eq!(key.parts, [ListedPart::default()], "{listing}");
            }
        }
    }
}
