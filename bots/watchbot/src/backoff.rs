//! How long to leave a repository alone that can't be read.

use std::time::Duration;

/// The longest pause; longer only if the interval itself is.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The pause after so many failures in a row: the interval, doubled with each, up to [`LONGEST`], and a quarter more or
/// less. The spread comes from the repository's name, so that many that fail together don't come back together.
pub fn pause(interval: Duration, failures: u32, repository: &str) -> Duration {
    let longest = interval.max(LONGEST);
    let doubled = interval
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(longest);
    // 750 to 1250 thousandths.
    let thousandths = 750 + spread(repository, failures) % 501;
    doubled.saturating_mul(u32::try_from(thousandths).unwrap_or(1000)) / 1000
}

/// FNV-1a: no secret, just scattered.
fn spread(repository: &str, failures: u32) -> u64 {
    let bytes = repository.bytes().chain(failures.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (failures, expected) in [
            (1, 30),
            (2, 60),
            (3, 120),
            (5, 480),
            (6, 900),
            (7, 900),
            (u32::MAX, 900),
        ] {
            let seconds = pause(INTERVAL, failures, "x").as_secs_f64();
            let expected = f64::from(expected);
            assert!(
                (expected * 0.75..=expected * 1.25).contains(&seconds),
                "{failures}: {seconds}"
            );
        }
    }

    #[test]
    fn a_long_interval_is_not_shortened() {
        let hour = Duration::from_secs(3600);
        assert!(pause(hour, 9, "x") >= hour.mul_f64(0.75));
    }

    #[test]
    fn repositories_that_fail_together_come_back_apart() {
        let mut pauses: Vec<Duration> = (0..100)
            .map(|i| pause(INTERVAL, 3, &format!("https://example.org/{i}")))
            .collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 80, "{} different pauses", pauses.len());
    }
}
