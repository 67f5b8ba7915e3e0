//! Who signs a suite: its key, and beside it those that clients may know from before.

use crate::armour;
use crate::failure::Failure;
use crate::suite::Update;

impl Update<'_> {
    /// Fingerprints of the keys that sign beside the key itself.
    pub(crate) fn older_keys(&self) -> Result<Vec<String>, Failure> {
        let keys = self.settings.older_keys.iter();
        keys.map(|key| self.host.fingerprint(key)).collect()
    }

    /// A clear-signed copy of a text, and an armoured detached signature; by all keys.
    pub(crate) fn signatures(&self, text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let sign =
            |key: &String| Ok::<_, Failure>((self.host.clear_sign(key, text)?, self.host.detach_sign(key, text)?));
        let (mut clear, mut detached) = sign(&self.settings.key)?;
        for key in &self.settings.older_keys {
            let (other_clear, other_detached) = sign(key)?;
            let join = |join: fn(&str, &str) -> Option<String>, first: &[u8], second: &[u8]| {
                let joined = join(std::str::from_utf8(first).ok()?, std::str::from_utf8(second).ok()?);
                joined.map(String::into_bytes)
            };
            let failed = || {
                Failure::Signing(format!(
                    "the signature of {key} can't be joined with that of another key"
                ))
            };
            clear = join(armour::join_clear, &clear, &other_clear).ok_or_else(failed)?;
            detached = join(armour::join_signatures, &detached, &other_detached).ok_or_else(failed)?;
        }
        Ok((clear, detached))
    }
}
